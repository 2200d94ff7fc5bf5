//! The party that can mend a failure.

/// The party that can mend a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum ResponsibleParty {
    /// The person being verified.
    User,
    /// The service that called the gateway.
    Caller,
    /// The operator of the gateway, with access to the vendor's console.
    Operator,
    /// Tencent: wait, or ask its support.
    Vendor,
}

impl ResponsibleParty {
    /// The name on the wire.
    pub fn name(self) -> &'static str {
        self.into()
    }
}
