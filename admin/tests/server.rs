//! The listener against clients that dawdle, flood or lie, over real sockets.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use ringway_admin::{Admin, AdminError, AdminSettings};
use ringway_proxy::Proxy;
use ringway_proxy::settings::{NodeSpec, Settings};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Within this a connection that does nothing must be closed.
const CLOSED_WITHIN: Duration = Duration::from_secs(5);

async fn start() -> (Proxy, Admin) {
    let nodes = vec![NodeSpec::new("a", "127.0.0.1:1")];
    let proxy = Proxy::start(Settings { threads: 1, ..Settings::new(nodes) }).await.unwrap();
    let settings = AdminSettings { listen: "127.0.0.1:0".into(), ..AdminSettings::default() };
    let admin = Admin::start(settings, proxy.control()).await.unwrap();
    (proxy, admin)
}

async fn connect(address: SocketAddr, bytes: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // a server that closed already is what some tests are about
    let _ = stream.write_all(bytes).await;
    stream
}

/// Everything until the server closes, and how long that took.
async fn until_closed(mut stream: TcpStream) -> (String, Duration) {
    let started = Instant::now();
    let mut bytes = Vec::new();
    let read = stream.read_to_end(&mut bytes);
    // a reset is a close as well
    let _ = tokio::time::timeout(2 * CLOSED_WITHIN, read).await.expect("not closed");
    (String::from_utf8_lossy(&bytes).into_owned(), started.elapsed())
}

const GET: &[u8] = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";

#[tokio::test]
async fn who_dawdles_is_closed_within_five_seconds() {
    let (_proxy, admin) = start().await;
    let address = admin.local_addr();
    let put = b"PUT /v1/topology HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{";
    let silent = until_closed(connect(address, b"").await);
    let half = until_closed(connect(address, &GET[..30]).await);
    let idle = until_closed(connect(address, GET).await);
    let body = until_closed(connect(address, put).await);
    let drip = async {
        let mut stream = connect(address, b"GET /healthz HTTP/1.1\r\n").await;
        let started = Instant::now();
        while stream.write_all(b"X-A: b\r\n").await.is_ok() && started.elapsed() < 2 * CLOSED_WITHIN {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        (String::new(), started.elapsed())
    };
    let (silent, half, idle, body, drip) = tokio::join!(silent, half, idle, body, drip);
    for (what, (_, took)) in
        [("silent", &silent), ("half", &half), ("idle", &idle), ("body", &body), ("drip", &drip)]
    {
        assert!(*took < CLOSED_WITHIN, "{what}: {took:?}");
    }
    assert!(idle.0.starts_with("HTTP/1.1 200"), "{}", idle.0);
    assert!(body.0.starts_with("HTTP/1.1 408"), "{}", body.0);
}

#[tokio::test]
async fn who_does_not_read_is_closed_within_five_seconds() {
    let (_proxy, admin) = start().await;
    let many = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(1_000_000);
    let mut stream = TcpStream::connect(admin.local_addr()).await.unwrap();
    let started = Instant::now();
    let mut stuck_since = started;
    let mut at = 0;
    // writes until the server stops reading, then waits for the reset
    while at < many.len() && started.elapsed() < 3 * CLOSED_WITHIN {
        match tokio::time::timeout(Duration::from_millis(100), stream.write(&many[at..])).await {
            Ok(Ok(written)) => {
                at += written;
                stuck_since = Instant::now();
            }
            Ok(Err(_)) => break,
            Err(_) => {}
        }
    }
    assert!(at < many.len(), "everything was taken");
    assert!(stuck_since.elapsed() < CLOSED_WITHIN + Duration::from_secs(1), "{:?}", stuck_since.elapsed());
}

#[tokio::test]
async fn a_thousand_who_dawdle_make_way_for_whole_requests_and_leave_no_trace() {
    const WHOLE: &[u8] = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let (_proxy, admin) = start().await;
    let address = admin.local_addr();
    let mut streams = Vec::new();
    for at in 0..1000 {
        streams.push(connect(address, b"GET").await);
        // those who came first have gone; a request beside them is answered
        if at % 100 == 99 {
            let (text, took) = until_closed(connect(address, WHOLE).await).await;
            assert!(text.starts_with("HTTP/1.1 200"), "{text}");
            assert!(took < CLOSED_WITHIN, "{took:?}");
        }
    }
    for stream in streams {
        until_closed(stream).await;
    }
    let (text, _) = until_closed(connect(address, GET).await).await;
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
}

#[tokio::test]
async fn a_huge_body_is_refused_unread() {
    let (_proxy, admin) = start().await;
    for length in ["Content-Length: 104857600", "Transfer-Encoding: chunked"] {
        let head = format!(
            "POST /v1/nodes HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{length}\r\n\r\n"
        );
        let mut stream = connect(admin.local_addr(), head.as_bytes()).await;
        let started = Instant::now();
        let chunk = format!("10000\r\n{}\r\n", " ".repeat(0x10000));
        let mut sent = 0;
        while sent < 100 << 20 && stream.write_all(chunk.as_bytes()).await.is_ok() {
            sent += chunk.len();
        }
        assert!(sent < 20 << 20, "{sent} bytes were taken");
        assert!(started.elapsed() < CLOSED_WITHIN);
    }
    let (text, _) = until_closed(connect(admin.local_addr(), GET).await).await;
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
}

#[tokio::test]
async fn an_answer_that_comes_before_the_body_is_not_lost() {
    let (_proxy, admin) = start().await;
    for path in ["/v1/nodes", "/nothing", "/v1/nodes?dryrun=1"] {
        for _ in 0..50 {
            let head = format!(
                "POST {path} HTTP/1.1\r\nHost: localhost\r\nOrigin: null\r\nContent-Type: application/json\r\n\
                 Content-Length: 40000\r\n\r\n"
            );
            let mut stream = connect(admin.local_addr(), head.as_bytes()).await;
            // the answer is under way, or there already
            stream.readable().await.unwrap();
            stream.write_all(&[b' '; 40_000]).await.expect("the body is taken");
            let mut bytes = Vec::new();
            stream.read_to_end(&mut bytes).await.expect("an end, not a reset");
            let text = String::from_utf8_lossy(&bytes);
            assert!(text.starts_with("HTTP/1.1 403") && text.ends_with("}}"), "{path}: {text}");
        }
    }
}

#[tokio::test]
async fn what_is_no_http_is_refused() {
    let (_proxy, admin) = start().await;
    let headers = "X-Header: x\r\n".repeat(200);
    let long = format!("GET /{} HTTP/1.1\r\nHost: localhost\r\n\r\n", "x".repeat(200_000));
    for bytes in [
        "*1\r\n$4\r\nPING\r\n".to_owned(),
        "\x16\x03\x01\x02\x00\x01".to_owned() + "\r\n\r\n",
        format!("GET / HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n"),
        long,
    ] {
        let (text, took) = until_closed(connect(admin.local_addr(), bytes.as_bytes()).await).await;
        assert!(text.is_empty() || text.starts_with("HTTP/1.1 4"), "{text}");
        assert!(took < CLOSED_WITHIN);
    }
}

#[tokio::test]
async fn it_starts_where_it_can_and_stops_in_order() {
    let (proxy, admin) = start().await;
    let address = admin.local_addr();
    let taken = AdminSettings { listen: address.to_string(), ..AdminSettings::default() };
    let error = Admin::start(taken.clone(), proxy.control()).await.unwrap_err();
    assert!(matches!(error, AdminError::Bind { .. }) && error.exit_code() == 1, "{error}");
    let open = AdminSettings { listen: "0.0.0.0:0".into(), ..AdminSettings::default() };
    assert_eq!(Admin::start(open, proxy.control()).await.unwrap_err().exit_code(), 2);
    let idle = connect(address, GET).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    let started = Instant::now();
    admin.stop().await;
    assert!(started.elapsed() < Duration::from_secs(1), "an idle connection must not hold it up");
    assert!(until_closed(idle).await.0.starts_with("HTTP/1.1 200"));
    assert!(TcpStream::connect(address).await.is_err());
    let again = Admin::start(taken, proxy.control()).await.unwrap();
    drop(again);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(TcpStream::connect(address).await.is_err(), "dropping ends it too");
}
