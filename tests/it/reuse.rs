//! Which connections to backends carry another request, and which must not: those of which either message was not read
//! or written to its proven end (RFC 9112 §9.3, §9.6).

use crate::support::{Answer, Backend, Gate, Proxy, Request};

/// What reached a backend, in order: methods and paths, or whatever stands in their place.
fn starts(backend: &Backend) -> Vec<String> {
    let all = backend.requests(|_| true);
    all.iter().map(|request| request.start().to_owned()).collect()
}

/// One worker, because idle connections belong to workers, and no probes, because they are requests too.
const CONFIG: &str = "workers: 1\nhealth_check: { kind: none }";

/// The first backend refuses before it has got the whole body, the second gets all of it and closes. The client gets the
/// refusal; what is missing of the first body must never be made up for by the next request.
#[test]
fn a_refusal_before_the_whole_body_came_is_the_last_answer_of_its_connection() {
    let refusing = Backend::start(|request| match request.start() {
        "POST /x" => Answer::status(503, "busy").early(),
        _ => Answer::ok("refusing"),
    });
    let gate = Gate::default();
    let reached = gate.clone();
    let closing = Backend::start(move |request| match request.start() {
        "POST /x" => {
            reached.open();
            Answer::nothing().close()
        }
        _ => Answer::ok("closing"),
    });
    let proxy = Proxy::before(&[&refusing, &closing]).config(CONFIG).start();
    let mut client = proxy.client();
    client.send("POST /x HTTP/1.1\r\nHost: test\r\nContent-Length: 10\r\n\r\n01234");
    gate.wait();
    let received = client.send("56789").read();
    assert_eq!((received.status(), received.text().as_str()), (503, "busy"));
    let mut texts: Vec<String> = (0..4).map(|_| proxy.get("/next").text()).collect();
    texts.sort_unstable();
    assert_eq!(texts, ["closing", "closing", "refusing", "refusing"]);
    assert_eq!(starts(&refusing), ["POST /x", "GET /next", "GET /next"]);
    let is_post = |request: &Request| request.start() == "POST /x";
    assert_eq!(closing.requests(is_post)[0].body, b"0123456789");
}
