//! The header of a trusted proxy, behind whatever its client had sent it: the client must not be
//! able to name somebody else.

#![no_main]

use faceid_gateway::auth::xfcc::last_element;
use libfuzzer_sys::fuzz_target;

const OWN: &str = "By=spiffe://mesh/gw;Hash=00;Subject=\"OU=a\\\\b,CN=orders\";URI=spiffe://mesh/orders;DNS=orders.internal";

fuzz_target!(|sent: &str| {
    let _ = last_element(sent);
    let own = last_element(OWN).expect("an element as Envoy writes it");
    if let Ok(element) = last_element(&format!("{sent},{OWN}")) {
        assert!(element == own, "the proxy's client has named somebody else");
    }
});
