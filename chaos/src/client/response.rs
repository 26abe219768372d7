//! A response as the client has received it.

/// What is verified and recorded of a response.
#[derive(Debug, Default)]
pub(super) struct Response {
    pub(super) status: u16,
    pub(super) nonce: Option<u64>,
    pub(super) backend: Option<usize>,
    pub(super) body_hash: Option<u64>,
    /// The cookie that it sets, as `name=value`.
    pub(super) cookie: Option<String>,
    /// Whether it says that the connection ends with it.
    pub(super) is_last: bool,
    pub(super) body: Vec<u8>,
}

impl Response {
    /// Notes a header. Names are in lower case.
    pub(super) fn note(&mut self, name: &str, value: &str) {
        use crate::nonce;
        match name {
            nonce::NONCE => self.nonce = nonce::number(value),
            nonce::BACKEND => self.backend = value.parse().ok(),
            nonce::BODY_HASH => self.body_hash = nonce::number(value),
            "set-cookie" => self.cookie = value.split(';').next().map(str::to_owned),
            _ => {}
        }
    }
}
