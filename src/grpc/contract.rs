//! The contract as data: what reflection serves, and the names of its services.

use prost::Message;
use prost_types::FileDescriptorSet;

/// The contract, as reflection serves it.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/faceid_descriptor.bin"));

/// The names of our services, each under which health is told. A new service is in the contract,
/// and so here.
///
/// # Panics
/// When the built-in descriptors are broken, which a test would show.
pub(super) fn service_names() -> Vec<String> {
    let set = FileDescriptorSet::decode(DESCRIPTORS).expect("the build wrote descriptors");
    let ours = set.file.iter().filter(|file| file.package() == "faceid.v1");
    ours.flat_map(|file| file.service.iter().map(|service| format!("{}.{}", file.package(), service.name()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_service_of_the_contract_is_named() {
        let names = service_names();
        assert!(names.iter().any(|name| name == "faceid.v1.VerificationService"), "{names:?}");
        assert!(names.iter().all(|name| name.starts_with("faceid.v1.")), "{names:?}");
    }
}
