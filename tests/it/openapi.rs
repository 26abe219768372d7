//! The OpenAPI document against a running process: every operation of the document is called, and its responses must be what the
//! document says.

use evenkeel::internals::clock;
use serde_json::{Map, Value};

use crate::support::{Backend, Client, DEADLINE, Proxy, Received};

/// An operation of the document.
struct Operation<'d> {
    document: &'d Value,
    path: &'d str,
    method: &'d str,
    item: &'d Value,
}

/// The examples of parameters in paths.
const IN_PATH: [(&str, &str); 3] = [("pool", "web"), ("backend", "one"), ("name", "app.js")];

/// How an operation is called.
#[derive(Debug, Clone, Copy)]
struct Call<'a> {
    host: &'a str,
    lines: &'a str,
    body: Option<&'a str>,
}

impl<'d> Operation<'d> {
    fn all(document: &'d Value) -> Vec<Self> {
        let paths = document["paths"].as_object().expect("paths");
        let operations = paths.iter().flat_map(|(path, methods)| {
            let methods = methods.as_object().expect("methods");
            methods.iter().map(move |(method, item)| Self {
                document,
                path,
                method,
                item,
            })
        });
        operations.collect()
    }

    fn id(&self) -> &str {
        self.item["operationId"].as_str().expect("an id")
    }

    /// The target with examples of its parameters.
    fn target(&self) -> String {
        let mut target = self.path.to_owned();
        for (name, example) in IN_PATH {
            target = target.replace(&format!("{{{name}}}"), example);
        }
        match self.id() {
            "explain" => target + "?url=http%3A%2F%2Fa.test%2Fx&header=X-A:+1&client_ip=10.0.0.1",
            "explainBody" => target + "?format=json",
            _ => target,
        }
    }

    /// Whether a request without a body is refused.
    fn needs_body(&self) -> bool {
        self.item["requestBody"]["required"] == true
    }

    /// The media type of the body.
    fn media(&self) -> &str {
        let content = self.item["requestBody"]["content"].as_object();
        let media = content.and_then(|content| content.keys().next());
        media.map_or("application/json", String::as_str)
    }

    /// An example of the body that the operation takes.
    fn body(&self) -> Option<&'static str> {
        self.item.get("requestBody").map(|_| match self.id() {
            "explainBody" => r#"{"url":"http://a.test/","headers":{"X-A":["1","2"]},"client_ip":"::1"}"#,
            "reload" => r#"{"guard":"30s"}"#,
            "plan" => "listen: 127.0.0.1:0\nbackends: [http://127.0.0.1:1]\n",
            "setLogLevel" => r#"{"level":"debug"}"#,
            "setWeight" => r#"{"weight":2}"#,
            other => panic!("no example of the body of {other}"),
        })
    }

    /// Calls the operation, and checks the response against the document. Returns the status.
    fn call(&self, proxy: &Proxy, target: &str, call: Call<'_>) -> u16 {
        let Call { host, lines, body } = call;
        let body = body.unwrap_or_default();
        let kind = match body {
            "" => String::new(),
            _ => format!(
                "Content-Type: {}\r\nContent-Length: {}\r\n",
                self.media(),
                body.len()
            ),
        };
        let method = self.method.to_uppercase();
        let mut client = Client::connect(proxy.admin());
        client.send(format!(
            "{method} {target} HTTP/1.1\r\nHost: {host}\r\n{lines}{kind}\r\n{body}"
        ));
        // The events do not end.
        let received = client.read_head_and(|head| !head.contains("text/event-stream"));
        if let Err(why) = self.check(&received) {
            panic!("{method} {target}: {why}\n{}{}", received.head, received.text());
        }
        received.status()
    }

    fn check(&self, received: &Received) -> Result<(), String> {
        let status = received.status().to_string();
        let response = self.item["responses"].get(&status);
        let response = response.ok_or_else(|| format!("status {status} is not documented"))?;
        let kind = received.field("content-type").unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default();
        let content = response["content"].get(kind);
        let content = content.ok_or_else(|| format!("{kind:?} is not documented"))?;
        if !kind.ends_with("json") {
            return Ok(());
        }
        let body: Value = serde_json::from_slice(&received.body).map_err(|error| error.to_string())?;
        conforms(self.document, &content["schema"], &body, "")
    }
}

/// Whether a value is as a schema says. Objects have no other properties than those that the schema names.
fn conforms(document: &Value, schema: &Value, value: &Value, place: &str) -> Result<(), String> {
    if *schema == Value::Bool(true) {
        return Ok(());
    }
    let fail = |why: String| Err(format!("{place}: {why}: {value}"));
    if let Some(reference) = schema["$ref"].as_str() {
        let schema = document.pointer(reference.trim_start_matches('#'));
        return conforms(document, schema.expect("a schema"), value, place);
    }
    if let Some(any) = schema.get("anyOf").or_else(|| schema.get("oneOf")) {
        let any = any.as_array().expect("a list");
        let is_any = any
            .iter()
            .any(|schema| conforms(document, schema, value, place).is_ok());
        return if is_any {
            Ok(())
        } else {
            fail("none of the schemas".to_owned())
        };
    }
    let types: Vec<&str> = match &schema["type"] {
        Value::Array(types) => types.iter().filter_map(Value::as_str).collect(),
        one => one.as_str().into_iter().collect(),
    };
    if !types.is_empty() && !types.iter().any(|name| has_type(value, name)) {
        return fail(format!("not {types:?}"));
    }
    for key in ["enum", "const"] {
        let is_one = match &schema[key] {
            Value::Null => true,
            Value::Array(values) => values.contains(value),
            one => one == value,
        };
        if !is_one {
            return fail(format!("not of {key}"));
        }
    }
    match value {
        Value::Array(items) => items.iter().enumerate().try_for_each(|(index, item)| {
            conforms(document, &schema["items"], item, &format!("{place}/{index}"))
        }),
        Value::Object(entries) => check_entries(document, schema, entries, place),
        _ => Ok(()),
    }
}

fn check_entries(
    document: &Value,
    schema: &Value,
    entries: &Map<String, Value>,
    place: &str,
) -> Result<(), String> {
    let required = schema["required"].as_array().into_iter().flatten();
    for name in required.filter_map(Value::as_str) {
        if !entries.contains_key(name) {
            return Err(format!("{place}: {name} is missing"));
        }
    }
    let is_map = |more: &Value| *more == Value::Bool(true) || more.is_object();
    for (name, value) in entries {
        let known = schema["properties"].get(name);
        let schema = known.or_else(|| schema.get("additionalProperties").filter(|more| is_map(more)));
        let schema = schema.ok_or_else(|| format!("{place}: {name} is not documented"))?;
        conforms(document, schema, value, &format!("{place}/{name}"))?;
    }
    Ok(())
}

fn has_type(value: &Value, name: &str) -> bool {
    match name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_u64() || value.is_i64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => false,
    }
}

const LOCAL: Call<'static> = Call {
    host: "localhost",
    lines: "",
    body: None,
};

const TOKEN: &str = "Authorization: Bearer correct-horse-battery\r\n";

/// A pool with a backend that is called `one`, and a listener with traffic.
fn config(backend: &Backend) -> String {
    let url = backend.url();
    format!(
        "pools: {{ web: {{ backends: [{{ url: '{url}', name: one }}] }} }}\nroutes: [{{ pool: web }}]\nworkers: 1"
    )
}

fn document(proxy: &Proxy) -> Value {
    let mut client = Client::connect(proxy.admin());
    client.send(format!(
        "GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n{TOKEN}\r\n"
    ));
    serde_json::from_slice(&client.read().body).expect("JSON")
}

#[test]
fn every_operation_responds_as_the_document_says() {
    let backend = Backend::saying("one");
    let proxy = Proxy::before(&[]).config(&config(&backend)).start();
    // Something to show: requests, a rejected one, and the config before a reload.
    proxy.get("/");
    proxy.client().send("GET / HTTP/1.1\r\nHost : x\r\n\r\n").read();
    let start = clock::now();
    while proxy
        .get_admin("/api/v1/history")
        .text()
        .contains(r#""samples":[]"#)
    {
        assert!(start.elapsed() < DEADLINE, "a sample is taken each second");
    }
    let document = document(&proxy);
    assert_eq!(document["openapi"], "3.1.0");
    let operations = Operation::all(&document);
    assert!(operations.len() > 15, "{}", operations.len());
    let reload = operations.iter().find(|operation| operation.id() == "reload");
    reload.expect("a reload").call(&proxy, "/api/v1/reload", LOCAL);
    // An upgrade would replace the process.
    for operation in operations.iter().filter(|operation| operation.id() != "upgrade") {
        let body = operation.body();
        let status = operation.call(&proxy, &operation.target(), Call { body, ..LOCAL });
        assert_eq!(status, 200, "{}", operation.id());
    }
}

#[test]
fn errors_are_documented_too() {
    let backend = Backend::saying("one");
    let proxy = Proxy::before(&[]).config(&config(&backend)).start();
    let document = document(&proxy);
    for operation in &Operation::all(&document) {
        let target = operation.target();
        let rebound = Call {
            host: "evil.example",
            ..LOCAL
        };
        assert_eq!(operation.call(&proxy, &target, rebound), 421);
        if operation.method != "get" {
            let foreign = Call {
                lines: "Origin: http://evil.example\r\n",
                ..LOCAL
            };
            assert_eq!(operation.call(&proxy, &target, foreign), 403);
            let form = Call {
                lines: "Content-Length: 1\r\nContent-Type: text/plain\r\n",
                ..LOCAL
            };
            assert_eq!(operation.call(&proxy, &target, form), 415);
        }
        if operation.needs_body() {
            for body in ["{}", "[", "\"\"", r#"{"unknown":1}"#] {
                let body = Some(body);
                assert_eq!(operation.call(&proxy, &target, Call { body, ..LOCAL }), 400);
            }
            assert_eq!(operation.call(&proxy, &target, LOCAL), 400, "no body");
        }
        for name in ["web", "one"] {
            let unknown = target.replace(name, "none");
            if unknown != target {
                let body = operation.body();
                assert_eq!(operation.call(&proxy, &unknown, Call { body, ..LOCAL }), 404);
                let garbled = target.replace(name, "%FF");
                assert_eq!(operation.call(&proxy, &garbled, Call { body, ..LOCAL }), 400);
            }
        }
    }
}

#[test]
fn only_what_the_document_calls_public_needs_no_token() {
    let backend = Backend::saying("one");
    let proxy = Proxy::before(&[])
        .config(&config(&backend))
        .admin_token("correct-horse-battery")
        .start();
    let document = document(&proxy);
    for operation in &Operation::all(&document) {
        let is_public = operation.item["security"] == Value::Array(Vec::new());
        let expected = if is_public { 200 } else { 401 };
        let body = operation.body();
        let status = operation.call(&proxy, &operation.target(), Call { body, ..LOCAL });
        assert_eq!(status, expected, "{}", operation.id());
    }
}

#[test]
fn a_response_that_is_not_documented_is_found() {
    let schema = serde_json::json!({
        "type": "object", "required": ["a"],
        "properties": { "a": { "type": ["integer", "null"] }, "b": { "items": { "enum": ["x"] } } },
    });
    let check = |value: Value| conforms(&Value::Null, &schema, &value, "");
    assert_eq!(check(serde_json::json!({ "a": 1, "b": ["x"] })), Ok(()));
    for wrong in [
        serde_json::json!({}),
        serde_json::json!({ "a": "1" }),
        serde_json::json!({ "a": null, "b": ["y"] }),
        serde_json::json!({ "a": 1, "c": 1 }),
        serde_json::json!([]),
    ] {
        assert!(check(wrong.clone()).is_err(), "{wrong}");
    }
}
