//! Data of policies that changes while the process runs.

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

use evenkeel_balance::policy::{Decision, Notes};
use evenkeel_balance::request::Request as View;

use super::*;
use crate::head::RequestHead;
use crate::http1::{self, HeadScan, Kind, parse_request};
use crate::proxy::Snapshot;
use crate::server::stores::tests::Server as Redis;
use crate::tls::testing::Folder;

/// A hash of `open:sesame`.
const HASH: &str = "$2b$04$abcdefghijklmnopqrstuu2GbQLdjwBFdH8CcOE866nGziodmvO8K";

/// Requests until the status is this one.
async fn wait_for_status(bench: &Bench, lines: &str, status: &str) {
    let waiting = async {
        while bench.get("/", lines).await.split(' ').nth(1) != Some(status) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(DEADLINE, waiting).await.unwrap();
}

#[tokio::test]
async fn a_changed_users_file_takes_effect_without_a_reload() {
    let folder = Folder::new();
    let path = folder.write("users", &format!("alice:{HASH}\n"));
    let backend = Peer::start(|_| ok("")).await;
    let bench = Bench::start(&[("api", &backend)], |config| {
        add_policy(config, "staff", "basic_auth", &[("users_file", text(&path))]);
    })
    .await;
    let login = |name| {
        format!(
            "Authorization: Basic {}\r\n",
            STANDARD.encode(format!("{name}:open:sesame"))
        )
    };
    let begins = |response: &str, status: &str| response.split(' ').nth(1) == Some(status);
    assert!(
        begins(&bench.get("/", &login("alice")).await, "200"),
        "it is read at the start"
    );
    assert!(begins(&bench.get("/", &login("bob")).await, "401"));
    std::fs::write(&path, format!("bob:{HASH}\n")).unwrap();
    wait_for_status(&bench, &login("bob"), "200").await;
    wait_for_status(&bench, &login("alice"), "401").await;
}

/// The code with which the first policy of a snapshot refuses a request with these credentials.
fn refusal(snapshot: &Snapshot, credentials: &str) -> Option<&'static str> {
    let bytes = format!("GET / HTTP/1.1\r\nHost: a\r\nAuthorization: {credentials}\r\n\r\n");
    let mut scan = HeadScan::default();
    let end = scan.advance(bytes.as_bytes(), Kind::Request, &http1::Limits::default());
    let mut head = RequestHead {
        bytes: bytes.into_bytes(),
        ..RequestHead::default()
    };
    parse_request(&mut head, &scan, end.unwrap().unwrap()).unwrap();
    let request = View {
        head: &head,
        client_ip: None,
        is_secure: false,
        listener: 0,
        now: clock::now(),
        wall: clock::wall(),
        random: 0,
    };
    let plan = snapshot.routes[0].plan.as_ref().unwrap();
    match plan.steps[0].policy.check(&request, &mut Notes::default()) {
        Decision::Refuse(refusal) => Some(refusal.code),
        Decision::Continue | Decision::Wait(_) => None,
    }
}

/// A reload that fails after this must not have changed the users of the active config, which has the same ones.
#[tokio::test]
async fn the_content_of_a_file_is_in_use_once_its_config_is_active() {
    let folder = Folder::new();
    let path = folder.write("users", &format!("alice:{HASH}\n"));
    let mut config = configured("backends: [http://127.0.0.1:1]\n");
    add_policy(&mut config, "staff", "basic_auth", &[("users_file", text(&path))]);
    let Assembled {
        snapshot, background, ..
    } = assemble::assemble(&config, &Kept::default()).unwrap();
    let login = format!("Basic {}", STANDARD.encode("alice:open:sesame"));
    assert_eq!(refusal(&snapshot, &login), Some("auth_unavailable"));
    background.activate();
    assert_eq!(refusal(&snapshot, &login), None);
}

#[tokio::test]
async fn a_running_store_gets_the_limits_of_a_config_that_is_active() {
    let config = |rate: &str| {
        configured(&format!(
            "stores: {{ limits: {{ redis: redis+unix:///nowhere }} }}\nbackends: [http://127.0.0.1:1]\n\
             policies: {{ few: {{ rate_limit: {{ rate: {rate}, shared: limits }} }} }}\nroute_defaults: {{ policies: [few] }}\n"
        ))
    };
    let ids = |keep: &Kept| crate::server::background::limits_of_stores(keep);
    let mut first = assemble::assemble(&config("1/s"), &Kept::default()).unwrap();
    first.background.start(&mut first.keep);
    let kept = first.keep.finish();
    assert_eq!(ids(&kept), ["few:client_ip:64:1000000000:1"]);
    let mut next = assemble::assemble(&config("2/s"), &kept).unwrap();
    next.background.start(&mut next.keep);
    assert_eq!(
        ids(&kept),
        ["few:client_ip:64:1000000000:1"],
        "it is not active yet"
    );
    next.background.activate();
    assert_eq!(ids(&next.keep.finish()), ["few:client_ip:64:500000000:2"]);
}

#[tokio::test]
async fn a_file_that_cannot_be_used_is_an_error_of_the_config() {
    let folder = Folder::new();
    let path = folder.write("users", "broken\n");
    let mut config = configured("backends: [http://127.0.0.1:1]\n");
    add_policy(&mut config, "staff", "basic_auth", &[("users_file", text(&path))]);
    let error = assemble::assemble(&config, &Kept::default()).err().unwrap();
    let expected = format!("policy `staff`: {path} cannot be used: line 1: not of the form name:hash");
    assert_eq!(error.to_string(), expected);
}

/// A key of an issuer.
struct Key {
    id: &'static str,
    pair: Ed25519KeyPair,
}

impl Key {
    fn new(id: &'static str) -> Self {
        let pair = Ed25519KeyPair::generate().unwrap();
        Self { id, pair }
    }

    fn set(&self) -> String {
        let (id, x) = (self.id, URL_SAFE_NO_PAD.encode(self.pair.public_key()));
        format!(r#"{{"keys":[{{"kty":"OKP","crv":"Ed25519","kid":"{id}","x":"{x}"}}]}}"#)
    }

    /// The header line with a token that never expires.
    fn token(&self) -> String {
        let id = self.id;
        let parts = [
            format!(r#"{{"alg":"EdDSA","kid":"{id}"}}"#),
            r#"{"sub":"a","exp":99999999999}"#.to_owned(),
        ];
        let signed = parts.map(|part| URL_SAFE_NO_PAD.encode(part)).join(".");
        let signature = URL_SAFE_NO_PAD.encode(self.pair.sign(signed.as_bytes()));
        format!("Authorization: Bearer {signed}.{signature}\r\n")
    }
}

fn jwt(url: &str) -> [(&'static str, Value); 3] {
    [
        ("jwks", text(url)),
        ("audience", Value::Word("any")),
        ("algorithms", Value::List(vec![Value::Word("EdDSA")])),
    ]
}

#[tokio::test]
async fn a_new_key_of_the_issuer_is_fetched_when_a_token_names_it() {
    let (old, new) = (Key::new("old"), Key::new("new"));
    let set = Arc::new(Mutex::new(old.set()));
    let served = Arc::clone(&set);
    let mut issuer = Peer::start(move |_| ok(&served.lock().unwrap())).await;
    let backend = Peer::start(|_| ok("")).await;
    let url = format!("http://{}/keys", issuer.address);
    let bench = Bench::start(&[("api", &backend)], |config| {
        add_policy(config, "tokens", "jwt", &jwt(&url));
    })
    .await;
    wait_for_status(&bench, &old.token(), "200").await;
    *set.lock().unwrap() = new.set();
    issuer.request().await;
    // Not before ten seconds have passed since the last fetch.
    wait_for_status(&bench, &new.token(), "200").await;
    wait_for_status(&bench, &old.token(), "401").await;
}

#[tokio::test]
async fn a_reload_keeps_a_feed_whose_data_stays_and_stops_one_that_is_gone() {
    let mut issuer = Peer::start(|_| Reply::Hang).await;
    let config = |paths: &[&str]| {
        let mut config = configured("backends: [http://127.0.0.1:1]\n");
        for path in paths {
            let url = format!("http://{}{path}", issuer.address);
            add_policy(&mut config, path, "jwt", &jwt(&url));
        }
        config
    };
    let configs = [config(&["/a"]), config(&["/a", "/b"]), config(&["/b"])];
    let mut kept = Kept::default();
    for (config, asked) in configs.iter().zip([Some("/a"), Some("/b"), None]) {
        let Assembled {
            mut keep,
            mut background,
            ..
        } = assemble::assemble(config, &kept).unwrap();
        background.start(&mut keep);
        kept = keep.finish();
        match asked {
            Some(path) => {
                let request = issuer.request().await;
                assert!(
                    request.head.starts_with(&format!("GET {path} ")),
                    "{}",
                    request.head
                );
            }
            None => {
                tokio::task::yield_now().await;
                assert!(issuer.requests.try_recv().is_err(), "nothing is fetched again");
            }
        }
    }
}

#[tokio::test]
async fn a_limit_that_instances_share_reaches_its_store() {
    let Some(redis) = Redis::start("process").await else {
        return;
    };
    let backend = Peer::start(|_| ok("")).await;
    let lines = format!(
        "stores: {{ limits: {{ redis: \"{}\" }} }}\nroutes: [{{ pool: api, policies: [few] }}]\n\
         pools: {{ api: {{ health_check: off, backends: [\"http://{}\"] }} }}\npolicies:\n  \
         few: {{ rate_limit: {{ rate: 1/h, burst: 10, shared: limits, on_failure: deny }} }}\n",
        redis.url(),
        backend.address
    );
    let benches = [
        Bench::run(configured(&lines)).await,
        Bench::run(configured(&lines)).await,
    ];
    for bench in &benches {
        wait_for_status(bench, "", "200").await;
    }
    // What one instance has admitted is missing at the other.
    wait_for_status(&benches[0], "", "429").await;
    wait_for_status(&benches[1], "", "429").await;
    drop(redis);
    wait_for_status(&benches[0], "", "503").await;
}

#[tokio::test]
async fn a_url_that_is_not_one_of_a_store_is_an_error_without_it() {
    let mut config = configured(
        "stores: { limits: { redis: redis://a } }\nbackends: [http://127.0.0.1:1]\n\
         policies: { few: { rate_limit: { rate: 1/s, shared: limits } } }\nroute_defaults: { policies: [few] }\n",
    );
    config.stores[0].url = "http://me:secret@a".to_owned();
    let error = assemble::assemble(&config, &Kept::default())
        .err()
        .unwrap()
        .to_string();
    assert!(error.starts_with("store `limits`: "), "{error}");
    assert!(!error.contains("secret"), "{error}");
}
