//! `faceid.v1.FlowService`.

use super::{caller::caller_of, convert::access_mode, convert_result::intention_mode, pb};
use crate::{
    app::App,
    domain::{
        evidence::EvidencePart,
        flow::{ComparisonSource, Flow, Product},
        redirect::AllowedTarget,
    },
};
use std::sync::Arc;
use strum::VariantArray;
use tonic::{Request, Response, Status};

pub struct FlowApi {
    app: Arc<App>,
}

impl FlowApi {
    pub(super) fn new(app: Arc<App>) -> Self {
        Self { app }
    }
}

#[tonic::async_trait]
impl pb::flow_service_server::FlowService for FlowApi {
    async fn list_flows(
        &self,
        request: Request<pb::ListFlowsRequest>,
    ) -> Result<Response<pb::ListFlowsResponse>, Status> {
        let caller = caller_of(&request)?;
        let flows = self.app.list_flows(&caller).iter().map(flow).collect();
        Ok(Response::new(pb::ListFlowsResponse { flows }))
    }
}

fn flow(flow: &Flow) -> pb::Flow {
    let product = match flow.product() {
        Product::H5 => pb::Product::H5,
    };
    let comparison = match flow.comparison {
        ComparisonSource::Authority => pb::ComparisonSource::Authority,
        ComparisonSource::UploadedPhoto => pb::ComparisonSource::UploadedPhoto,
    };
    let kept = EvidencePart::VARIANTS.iter().filter(|part| flow.evidence.has(**part));
    pb::Flow {
        flow: flow.name.clone(),
        display_name: flow.display_name.clone(),
        product: product.into(),
        access_mode: access_mode(flow.access_mode).into(),
        comparison: comparison.into(),
        requires_name: flow.requires.name,
        requires_id_number: flow.requires.id_number,
        intention_mode: intention_mode(flow.intention).into(),
        redirect_targets: flow.redirect_allow.iter().map(AllowedTarget::as_str).map(str::to_owned).collect(),
        evidence: kept.map(|part| evidence_part(*part).into()).collect(),
        result_retention: Some(prost_types::Duration { seconds: flow.result_retention.as_secs(), nanos: 0 }),
        evidence_retention: Some(prost_types::Duration { seconds: flow.evidence_retention.as_secs(), nanos: 0 }),
    }
}

fn evidence_part(part: EvidencePart) -> pb::EvidencePart {
    match part {
        EvidencePart::BestFrame => pb::EvidencePart::BestFrame,
        EvidencePart::IdCard => pb::EvidencePart::IdCard,
        EvidencePart::Video => pb::EvidencePart::Video,
        EvidencePart::Intention => pb::EvidencePart::Intention,
    }
}
