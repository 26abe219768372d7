//! Blocks of addresses, wherever the config lists some.

use evenkeel_balance::block;
use ipnet::IpNet;

use crate::config::context::Context;
use crate::config::reader::Written;
use crate::config::source::Diagnostic;

/// Reads an address or a CIDR block as addresses of clients are compared with it: IPv4 addresses inside IPv6 are IPv4. `None`, which
/// is not reported, if the text is none; bits behind the prefix are a warning.
pub(super) fn read(cx: &Context<'_>, written: Written<'_>) -> Option<IpNet> {
    let block = block::parse(written.text)?;
    let canonical = block::canonical(block);
    if block != block.trunc() {
        let meant = (!written.is_expanded).then(|| format!("did you mean `{canonical}`?"));
        let message = "this CIDR block has bits set after its prefix; they are ignored";
        cx.report(Diagnostic::warning(written.span, message).note_if(meant));
    }
    Some(canonical)
}
