//! `evenkeel explain`: says what would become of a request, and why, without sending anything: from a config, or from the state of the
//! running process.

use std::io;
use std::net::IpAddr;

use clap::Args;

use super::call::{self, Done, Failure};
use super::{ConfigFile, Outcome, Streams, admin_api};
use crate::admin::Question;
use crate::config::Config;
use crate::net::ListenAddress;
use crate::{explain as explanation, server};

/// The arguments of `evenkeel explain`.
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct ExplainArguments {
    /// Method of the request, such as GET
    method: String,
    /// URL of the request: http://HOST/PATH, https://HOST/PATH, or /PATH with `-H 'Host: NAME'`
    url: String,
    /// Header of the request; can be repeated
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    headers: Vec<String>,
    /// Address of the client, as the access log would name it
    #[arg(long, value_name = "IP", default_value = "127.0.0.1")]
    client_ip: IpAddr,
    /// Address of the listener, as in the config [default: the first one for the scheme of the URL]
    #[arg(long, value_name = "ADDR")]
    listener: Option<String>,
    /// Prints JSON
    #[arg(long)]
    json: bool,
    /// Address of the admin API of the running process that is asked without `-c`, or unix:PATH [default: the variable EVENKEEL_ADMIN, or 127.0.0.1:9900]
    #[arg(long, value_name = "ADDRESS", value_parser = admin_api::parse, conflicts_with = "config")]
    admin: Option<ListenAddress>,
    /// Bearer token of the admin API [default: the variable EVENKEEL_TOKEN]
    #[arg(long, value_name = "TOKEN", conflicts_with = "config")]
    token: Option<String>,
    #[command(flatten)]
    file: ConfigFile,
}

const EXAMPLES: &str = "\
Without -c, the running process is asked; with -c, the config alone is looked at.

Exit codes: 0 explained, 1 refused or an invalid config (with the reason), 2 wrong usage, 3 process not reached.

Examples:
  evenkeel explain GET http://api.example.com/v1/users
  evenkeel explain -c config.yaml POST https://shop.example.com/cart -H 'X-Canary: 1' --client-ip 10.1.2.3";

/// Explains a request.
pub(super) fn explain(arguments: &ExplainArguments, streams: &mut Streams<'_>) -> io::Result<Outcome> {
    let question = Question {
        method: arguments.method.clone(),
        url: arguments.url.clone(),
        headers: arguments.headers.clone(),
        client_ip: arguments.client_ip,
        listener: arguments.listener.clone(),
    };
    if arguments.file.config.is_none() {
        return call::report(ask(arguments, &question), arguments.json, streams);
    }
    let (name, loaded) = match arguments
        .file
        .load("name one with `-c FILE`, or `-c -` for stdin")
    {
        Ok(loaded) => loaded,
        Err(report) => return streams.fail(&report),
    };
    streams.warn(&loaded)?;
    offline(arguments, &question, (&name, &loaded.config), streams)
}

/// Explains what the config says, from backends of which nothing is known.
fn offline(
    arguments: &ExplainArguments,
    question: &Question,
    (name, config): (&str, &Config),
    streams: &mut Streams<'_>,
) -> io::Result<Outcome> {
    let snapshot = match server::snapshot_of(config) {
        Ok(snapshot) => snapshot,
        Err(error) => {
            writeln!(streams.err, "{name}: error: {error}")?;
            return Ok(Outcome::Failed);
        }
    };
    explanation::fill(&snapshot, config);
    let explained = match explanation::explain(question, config, &snapshot) {
        Ok(explained) => explained,
        Err(error) => {
            writeln!(streams.err, "error: {error}")?;
            return Ok(Outcome::Misused);
        }
    };
    if arguments.json {
        serde_json::to_writer_pretty(&mut *streams.out, &explained)?;
        writeln!(streams.out)?;
    } else {
        write!(streams.out, "{}", explanation::text(&explained))?;
    }
    Ok(Outcome::Fine)
}

/// Asks the running process.
fn ask(arguments: &ExplainArguments, question: &Question) -> Result<Done, Failure> {
    let process = admin_api::process(arguments.admin.as_ref(), arguments.token.as_ref())?;
    let format = if arguments.json { "json" } else { "text" };
    let path = format!("/api/v1/explain?format={format}");
    let body = serde_json::to_vec(question).unwrap_or_default();
    let body = process
        .call("POST", &path, &body)
        .map_err(|failure| match failure.outcome {
            Outcome::Unreached => Failure {
                why: failure.why + ", or a config with `-c FILE`",
                ..failure
            },
            _ => failure,
        })?;
    Ok(Done {
        text: String::from_utf8_lossy(&body).into_owned(),
        json: body,
    })
}
