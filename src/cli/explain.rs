//! `evenkeel explain`: says what would become of a request, and why, without sending anything: from a config, or from the state of the
//! running process.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use clap::Args;

use super::{ConfigFile, Outcome, Streams, admin_api};
use crate::admin::{self, Question};
use crate::config::Config;
use crate::{explain as explanation, server};

/// Timeout for the response of the running process.
const TIMEOUT: Duration = Duration::from_secs(5);

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
    /// Address of the admin API of the running process that is asked without `-c` [default: 127.0.0.1:9900]
    #[arg(long, value_name = "ADDRESS", conflicts_with = "config")]
    admin: Option<SocketAddr>,
    /// Bearer token of the admin API [default: the variable EVENKEEL_TOKEN]
    #[arg(long, value_name = "TOKEN", conflicts_with = "config")]
    token: Option<String>,
    #[command(flatten)]
    file: ConfigFile,
}

const EXAMPLES: &str = "\
Without -c, the running process is asked; with -c, the config alone is looked at.

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
        return ask(arguments, &question, streams);
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
fn ask(arguments: &ExplainArguments, question: &Question, streams: &mut Streams<'_>) -> io::Result<Outcome> {
    let address = arguments.admin.unwrap_or(admin_api::ADDRESS);
    let format = if arguments.json { "json" } else { "text" };
    let path = format!("/api/v1/explain?format={format}");
    let body = serde_json::to_vec(question)?;
    let token = admin_api::token(arguments.token.as_ref());
    let api = admin::client::Api {
        address,
        token: token.as_deref(),
    };
    match admin::client::send_json_blocking(api, ("POST", &path), &body, TIMEOUT) {
        Ok((200, body)) => {
            streams.out.write_all(&body)?;
            Ok(Outcome::Fine)
        }
        Ok((status, body)) => {
            let body: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
            let message = body.get("message").and_then(serde_json::Value::as_str);
            let message = message.map_or_else(|| format!("status {status}"), str::to_owned);
            writeln!(streams.err, "error: {message}")?;
            Ok(if status == 400 {
                Outcome::Misused
            } else {
                Outcome::Failed
            })
        }
        Err(error) => {
            writeln!(
                streams.err,
                "error: could not ask the running process at {address}: {error}; name its admin API with `--admin ADDRESS`, or a config with `-c FILE`"
            )?;
            Ok(Outcome::Failed)
        }
    }
}
