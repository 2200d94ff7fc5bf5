//! Reflection, v1 and v1alpha: the contract, as tools ask for it. A symbol that is not there is an
//! answer, and the stream goes on.

use futures_util::{StreamExt, stream};
use prost::{DecodeError, Message};
use prost_types::{DescriptorProto, EnumDescriptorProto, FileDescriptorProto};
use std::{collections::HashMap, sync::Arc};
use tonic::{Code, Request, Response, Status, Streaming};

/// Files of descriptor sets, by their names and by what is in them.
pub(super) struct Files {
    services: Vec<String>,
    by_name: HashMap<String, Arc<[u8]>>,
    by_symbol: HashMap<String, Arc<[u8]>>,
}

impl Files {
    /// # Errors
    /// When a set cannot be decoded.
    pub(super) fn of(descriptor_sets: &[&[u8]]) -> Result<Arc<Self>, DecodeError> {
        let mut files = Self { services: Vec::new(), by_name: HashMap::new(), by_symbol: HashMap::new() };
        for set in descriptor_sets {
            for file in RawSet::decode(*set)?.file {
                files.add(file)?;
            }
        }
        files.services.sort_unstable();
        Ok(Arc::new(files))
    }

    fn add(&mut self, raw: Vec<u8>) -> Result<(), DecodeError> {
        let file = FileDescriptorProto::decode(&*raw)?;
        let raw: Arc<[u8]> = raw.into();
        // Several sets have the files that they share.
        if self.by_name.insert(file.name().to_owned(), Arc::clone(&raw)).is_some() {
            return Ok(());
        }
        let mut symbols = Vec::new();
        let package = file.package();
        file.message_type.iter().for_each(|message| add_message(message, package, &mut symbols));
        file.enum_type.iter().for_each(|values| add_enum(values, package, &mut symbols));
        for service in &file.service {
            let name = join(package, service.name());
            symbols.extend(service.method.iter().map(|method| join(&name, method.name())));
            symbols.push(name.clone());
            self.services.push(name);
        }
        self.by_symbol.extend(symbols.into_iter().map(|symbol| (symbol, Arc::clone(&raw))));
        Ok(())
    }
}

/// A `FileDescriptorSet` whose files are left as they are: decoded and encoded, they would lose
/// their custom options.
#[derive(Clone, PartialEq, Message)]
struct RawSet {
    #[prost(bytes = "vec", repeated, tag = "1")]
    file: Vec<Vec<u8>>,
}

fn add_message(message: &DescriptorProto, scope: &str, symbols: &mut Vec<String>) {
    let name = join(scope, message.name());
    symbols.extend(message.field.iter().map(|field| join(&name, field.name())));
    symbols.extend(message.oneof_decl.iter().map(|choice| join(&name, choice.name())));
    message.enum_type.iter().for_each(|values| add_enum(values, &name, symbols));
    message.nested_type.iter().for_each(|nested| add_message(nested, &name, symbols));
    symbols.push(name);
}

fn add_enum(values: &EnumDescriptorProto, scope: &str, symbols: &mut Vec<String>) {
    let name = join(scope, values.name());
    symbols.extend(values.value.iter().map(|value| join(&name, value.name())));
    symbols.push(name);
}

fn join(scope: &str, name: &str) -> String {
    if scope.is_empty() { name.to_owned() } else { format!("{scope}.{name}") }
}

/// The two versions have the same messages in packages of their own.
macro_rules! reflection {
    ($version:ident) => {
        pub(super) mod $version {
            use super::*;
            use tonic_reflection::pb::$version::{
                ErrorResponse, ExtensionNumberResponse, FileDescriptorResponse, ListServiceResponse,
                ServerReflectionRequest, ServerReflectionResponse, ServiceResponse,
                server_reflection_request::MessageRequest,
                server_reflection_response::MessageResponse,
                server_reflection_server::{ServerReflection, ServerReflectionServer},
            };

            pub struct Reflection(Arc<Files>);

            impl Reflection {
                pub(in super::super) fn server(files: &Arc<Files>) -> ServerReflectionServer<Self> {
                    ServerReflectionServer::new(Self(Arc::clone(files)))
                }
            }

            #[tonic::async_trait]
            impl ServerReflection for Reflection {
                type ServerReflectionInfoStream = stream::BoxStream<'static, Result<ServerReflectionResponse, Status>>;

                async fn server_reflection_info(
                    &self,
                    request: Request<Streaming<ServerReflectionRequest>>,
                ) -> Result<Response<Self::ServerReflectionInfoStream>, Status> {
                    let files = Arc::clone(&self.0);
                    let answers = request.into_inner().map(move |asked| asked.map(|asked| answer(&files, asked)));
                    Ok(Response::new(answers.boxed()))
                }
            }

            fn answer(files: &Files, asked: ServerReflectionRequest) -> ServerReflectionResponse {
                let file = |found: Option<&Arc<[u8]>>, wanted: &str| match found {
                    Some(raw) => MessageResponse::FileDescriptorResponse(FileDescriptorResponse {
                        file_descriptor_proto: vec![raw.to_vec()],
                    }),
                    None => error(Code::NotFound, format!("there is no {wanted}")),
                };
                let told = match &asked.message_request {
                    Some(MessageRequest::FileByFilename(name)) => file(files.by_name.get(name), "such file"),
                    Some(MessageRequest::FileContainingSymbol(symbol)) => {
                        file(files.by_symbol.get(symbol), "such symbol")
                    }
                    Some(MessageRequest::FileContainingExtension(_)) => file(None, "such extension"),
                    // Tools ask for those of every message that they show, and there are none.
                    Some(MessageRequest::AllExtensionNumbersOfType(name)) => {
                        MessageResponse::AllExtensionNumbersResponse(ExtensionNumberResponse {
                            base_type_name: name.clone(),
                            extension_number: Vec::new(),
                        })
                    }
                    Some(MessageRequest::ListServices(_)) => {
                        let service = |name: &String| ServiceResponse { name: name.clone() };
                        let service = files.services.iter().map(service).collect();
                        MessageResponse::ListServicesResponse(ListServiceResponse { service })
                    }
                    None => error(Code::InvalidArgument, "message_request is missing".to_owned()),
                };
                ServerReflectionResponse {
                    valid_host: asked.host.clone(),
                    original_request: Some(asked),
                    message_response: Some(told),
                }
            }

            fn error(code: Code, error_message: String) -> MessageResponse {
                MessageResponse::ErrorResponse(ErrorResponse { error_code: code as i32, error_message })
            }
        }
    };
}

reflection!(v1);
reflection!(v1alpha);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_symbol_is_found_in_its_file() {
        let files = Files::of(&[crate::grpc::DESCRIPTORS, tonic_health::pb::FILE_DESCRIPTOR_SET]).unwrap();
        for symbol in [
            "faceid.v1.VerificationService",
            "faceid.v1.VerificationService.GetResult",
            "faceid.v1.GetResultRequest",
            "faceid.v1.GetResultRequest.key",
            "faceid.v1.GetResultRequest.biz_token",
            "faceid.v1.VerificationState",
            "grpc.health.v1.HealthCheckResponse.ServingStatus",
        ] {
            let raw = files.by_symbol.get(symbol).unwrap_or_else(|| panic!("{symbol}"));
            let file = FileDescriptorProto::decode(&**raw).unwrap();
            assert!(symbol.starts_with(file.package()), "{symbol}");
            assert!(Arc::ptr_eq(raw, &files.by_name[file.name()]), "{symbol}");
        }
        assert!(files.services.contains(&"grpc.health.v1.Health".to_owned()));
        assert!(!files.by_symbol.contains_key("faceid.v1.Nonsense"));
    }
}
