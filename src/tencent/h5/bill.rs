//! GetWeChatBillDetails: the vendor's own ledger.

use super::{
    H5,
    wire::{GetWeChatBillDetailsRequest, GetWeChatBillDetailsResponse, WeChatBillDetail},
};
use crate::{
    domain::{bill_day::BillDay, flow::Flow, ids::BizToken, key_pair::KeyPair},
    tencent::{
        answer::Answer,
        client::Client,
        error::Error,
        options::{CallOptions, Urgency},
        terms::Charge,
    },
};

const ACTION: &str = "GetWeChatBillDetails";
/// Stops a ledger of the vendor that never ends: a million tokens a day at 100 a page.
const MAX_PAGES: u32 = 10_000;

impl H5 {
    /// All pages of the ledger of a flow's day.
    ///
    /// # Errors
    /// See [`crate::tencent::ErrorKind`].
    pub(in crate::tencent) async fn bill(
        &self,
        pair: &KeyPair,
        flow: &Flow,
        day: BillDay,
        urgency: Urgency,
    ) -> Result<Vec<Charge>, Error> {
        let options = CallOptions { credential: &flow.credential, urgency };
        let date = day.to_string();
        let mut charges = Vec::new();
        let mut cursor = 0;
        for _page in 0..MAX_PAGES {
            let request = GetWeChatBillDetailsRequest { date: &date, cursor, rule_id: &flow.rule_id };
            let page = self.client.get_wechat_bill_details(pair, &request, options).await?.body;
            charges.extend(page.we_chat_bill_details.unwrap_or_default().into_iter().map(charge));
            match (page.has_next_page, page.next_cursor) {
                (Some(true), Some(next)) if next > cursor => cursor = next,
                (Some(true), _) => break,
                _ => return Ok(charges),
            }
        }
        Err(Error::unintelligible(ACTION, "its ledger does not end", "", 1))
    }
}

impl Client {
    /// A page of the ledger of a day (document 31082).
    async fn get_wechat_bill_details(
        &self,
        pair: &KeyPair,
        request: &GetWeChatBillDetailsRequest<'_>,
        options: CallOptions<'_>,
    ) -> Result<Answer<GetWeChatBillDetailsResponse>, Error> {
        self.call(ACTION, pair, request, options, Ok).await
    }
}

fn charge(detail: WeChatBillDetail) -> Charge {
    let token = detail.biz_token.unwrap_or_default();
    Charge {
        token_tail: tail(&token),
        token: BizToken::parse(&token).ok(),
        charges: detail.charge_count.unwrap_or_default(),
    }
}

fn tail(token: &str) -> String {
    let count = token.chars().count();
    token.chars().skip(count.saturating_sub(4)).collect()
}
