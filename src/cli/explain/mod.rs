//! `evenkeel explain`: says what would become of a request, and why, without starting anything or sending anything.

mod asked;
mod changes;
mod explanation;
mod pools;
#[cfg(test)]
mod tests;
mod text;

use std::io;
use std::net::IpAddr;

use clap::Args;

use super::{ConfigFile, Outcome, Streams};
use asked::Asked;
use explanation::Explanation;

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
    #[command(flatten)]
    file: ConfigFile,
}

const EXAMPLES: &str = "\
Examples:
  evenkeel explain GET http://api.example.com/v1/users
  evenkeel explain POST https://shop.example.com/cart -H 'X-Canary: 1' --client-ip 10.1.2.3";

/// Explains a request.
pub(super) fn explain(arguments: &ExplainArguments, streams: &mut Streams<'_>) -> io::Result<Outcome> {
    let (name, loaded) = match arguments
        .file
        .load("name one with `-c FILE`, or `-c -` for stdin")
    {
        Ok(loaded) => loaded,
        Err(report) => return streams.fail(&report),
    };
    streams.warn(&loaded)?;
    let config = &loaded.config;
    let asked = match Asked::new(arguments, config) {
        Ok(asked) => asked,
        Err(error) => {
            writeln!(streams.err, "error: {error}")?;
            return Ok(Outcome::Misused);
        }
    };
    let explanation = match Explanation::new(&asked, config) {
        Ok(explanation) => explanation,
        Err(error) => {
            writeln!(streams.err, "{name}: error: {error}")?;
            return Ok(Outcome::Failed);
        }
    };
    if arguments.json {
        serde_json::to_writer_pretty(&mut *streams.out, &explanation)?;
        writeln!(streams.out)?;
    } else {
        write!(streams.out, "{}", text::render(&explanation))?;
    }
    Ok(Outcome::Fine)
}
