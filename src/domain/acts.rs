//! Who can do something about what went wrong.

/// Who can do something about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Acts {
    /// The person who is being verified.
    User,
    /// The service that called the gateway.
    Caller,
    /// Whoever runs the gateway and has the vendor's console.
    Operator,
    /// Tencent: wait, or ask its support.
    Vendor,
}

impl Acts {
    /// The name on the wire.
    pub fn name(self) -> &'static str {
        self.into()
    }
}
