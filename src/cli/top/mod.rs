//! `evenkeel top`: shows a running process in the terminal, over its admin API, and drains backends.

mod api;
mod app;
mod background;
mod keys;
mod model;
mod order;
mod rates;
mod rows;
mod sse;
mod terminal;
mod text;
mod view;

#[cfg(test)]
mod example;

use std::io::{self, IsTerminal as _};

use clap::Args;

use super::call::Process;
use super::{Outcome, Streams, admin_api};
use crate::clock;
use crate::net::ListenAddress;
use api::{Api, ApiError};
use app::App;
use background::Background;

/// The arguments of `evenkeel top`.
#[derive(Debug, Clone, Args)]
#[command(after_help = NOTES)]
pub(super) struct TopArguments {
    /// Address of the admin API of the running process, or unix:PATH [default: the variable EVENKEEL_ADMIN, or 127.0.0.1:9900]
    #[arg(id = "top_admin", long = "admin", value_name = "ADDRESS", value_parser = admin_api::parse)]
    admin: Option<ListenAddress>,
    /// Bearer token of the admin API [default: the variable EVENKEEL_TOKEN]
    #[arg(long, value_name = "TOKEN")]
    token: Option<String>,
}

const NOTES: &str = "\
Keys: arrows select, s sorts, / filters, d drains, r makes ready, ? shows all keys, q quits.
Exit codes: 0 quit, 1 refused or no terminal, 2 wrong usage, 3 process not reached.";

/// Shows the process until somebody quits.
pub(super) fn top(arguments: &TopArguments, streams: &mut Streams<'_>) -> io::Result<Outcome> {
    let api = match admin_api::process(arguments.admin.as_ref(), arguments.token.as_ref()) {
        Ok(Process { address, token }) => Api { address, token },
        Err(failure) => {
            writeln!(streams.err, "error: {}", failure.why)?;
            return Ok(failure.outcome);
        }
    };
    if !(io::stdin().is_terminal() && io::stdout().is_terminal()) {
        writeln!(
            streams.err,
            "error: `evenkeel top` needs a terminal; `evenkeel ctl status` prints the status once"
        )?;
        return Ok(Outcome::Failed);
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let address = api.address.to_string();
    // Whoever names a wrong address gets a message, and not an empty screen.
    let first = match runtime.block_on(background::first(&api)) {
        Ok(first) => first,
        Err(error) => {
            let (outcome, why) = failure(&address, &error);
            writeln!(streams.err, "error: {why}")?;
            return Ok(outcome);
        }
    };
    let mut background = Background::start(runtime, api, &first)?;
    let mut app = App::new(address, first, clock::now());
    if let Err(error) = terminal::run(&mut app, &mut background) {
        writeln!(streams.err, "error: cannot use the terminal: {error}")?;
        return Ok(Outcome::Failed);
    }
    Ok(Outcome::Fine)
}

/// The exit code and the message for a process that does not respond as expected.
fn failure(address: &str, error: &ApiError) -> (Outcome, String) {
    match error {
        ApiError::Unreached(why) => (
            Outcome::Unreached,
            format!("could not reach the admin API at {address}: {why}; name it with `--admin ADDRESS`"),
        ),
        other => (Outcome::Failed, other.to_string()),
    }
}
