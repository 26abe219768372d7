//! The addresses that the admin API can be bound to, and what each of them requires.

use std::os::unix::net::UnixListener;

use tokio::net::UnixStream;
use tokio::sync::oneshot;

use super::*;
use crate::admin::CHANGES_WAITING;

/// A change over a Unix socket names the user, and needs neither a `Host` nor a token.
#[tokio::test]
async fn a_unix_socket_needs_no_host_and_names_the_user() {
    let path = std::env::temp_dir().join(format!("evenkeel-admin-{}", std::process::id()));
    let listener = UnixListener::bind(&path).expect("the path is free");
    let settings = Settings {
        address: ListenAddress::Unix(path.clone()),
        token: None,
    };
    let (changes, mut changed) = mpsc::channel(CHANGES_WAITING);
    let control = Control {
        feeds: feeds::known(),
        log_level: tracing::Level::INFO.into(),
        view: Arc::new(Fixed {
            readiness: Mutex::new(Readiness::Ready),
        }),
        commands: mpsc::channel(1).0,
        changes,
    };
    let served = serve(
        StdListener::Unix(listener),
        &settings,
        control,
        std::future::pending(),
        oneshot::channel().0,
    );
    let asked = async {
        let mut stream = UnixStream::connect(&path).await.expect("it listens");
        let request = b"POST /api/v1/pools/web/backends/one/drain HTTP/1.0\r\n\r\n";
        stream.write_all(request).await.expect("written");
        let change = changed.recv().await.expect("a change");
        let uid = rustix::process::geteuid().as_raw();
        assert_eq!(change.by, format!("unix socket, uid {uid}"));
        let backend = shown_status().pools.remove(0).backends.remove(0);
        change.reply.send(Ok(backend)).expect("somebody waits");
        let mut response = String::new();
        stream.read_to_string(&mut response).await.expect("a response");
        assert!(response.contains(" 200 OK\r\n"), "{response}");
    };
    tokio::select! {
        ended = served => panic!("it ended: {ended:?}"),
        asked = tokio::time::timeout(DEADLINE, asked) => asked.expect("in time"),
    }
    std::fs::remove_file(&path).expect("it is there");
}

#[tokio::test]
async fn an_address_that_is_not_loopback_needs_a_token() {
    for (address, token) in [
        ("0.0.0.0:0", None),
        ("0.0.0.0:0", Some("")),
        ("127.0.0.1:0", Some("")),
    ] {
        let listener = std::net::TcpListener::bind(address).expect("a free port");
        let address = listener.local_addr().expect("an address");
        let settings = Settings {
            address: ListenAddress::Ip(address),
            token: token.map(str::to_owned),
        };
        let view = Arc::new(Fixed {
            readiness: Mutex::new(Readiness::Ready),
        });
        let control = Control {
            feeds: feeds::known(),
            log_level: tracing::Level::INFO.into(),
            view,
            commands: mpsc::channel(1).0,
            changes: mpsc::channel(1).0,
        };
        let refused = serve(
            StdListener::Tcp(listener),
            &settings,
            control,
            std::future::pending(),
            oneshot::channel().0,
        );
        let error = tokio::time::timeout(DEADLINE, refused)
            .await
            .expect("at once")
            .expect_err("refused");
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }
}
