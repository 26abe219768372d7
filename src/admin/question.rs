//! The question of `explain`, as the command line and the admin API ask it.

use std::net::{IpAddr, Ipv4Addr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::explanation::Explanation;

/// A request that is not sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// Its method.
    #[serde(default = "get")]
    pub method: String,
    /// Its URL: `http://HOST/PATH`, `https://HOST/PATH`, or `/PATH` with a header `Host`.
    #[schemars(regex(pattern = "^(https?:/)?/"))]
    pub url: String,
    /// Its headers, each as `NAME: VALUE`; or a map of names to values.
    #[serde(default, deserialize_with = "headers")]
    #[schemars(with = "Headers")]
    pub headers: Vec<String>,
    /// The address of the client.
    #[serde(default = "loopback")]
    pub client_ip: IpAddr,
    /// The address of the listener, as in the config; `None` for the first one for the scheme of the URL.
    #[serde(default)]
    pub listener: Option<String>,
}

/// An explanation, in both of its forms.
#[derive(Debug, Clone, PartialEq)]
pub struct Explained {
    /// For programs.
    pub explanation: Explanation,
    /// For people.
    pub text: String,
}

/// Headers as people write them in JSON: a map, or a list of lines.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
enum Headers {
    Lines(Vec<String>),
    Map(std::collections::BTreeMap<String, Values>),
}

#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
enum Values {
    One(String),
    Several(Vec<String>),
}

fn headers<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    Ok(match Headers::deserialize(deserializer)? {
        Headers::Lines(lines) => lines,
        Headers::Map(map) => {
            let lines = map.into_iter().flat_map(|(name, values)| {
                let values = match values {
                    Values::One(value) => vec![value],
                    Values::Several(values) => values,
                };
                values.into_iter().map(move |value| format!("{name}: {value}"))
            });
            lines.collect()
        }
    })
}

fn get() -> String {
    "GET".to_owned()
}

fn loopback() -> IpAddr {
    Ipv4Addr::LOCALHOST.into()
}
