//! Answers of monitoring ports, true and false ones.

use proptest::prelude::*;
use tokio::net::TcpListener;

use super::*;

fn check(raw: &str, expected: Result<(u16, &str), &str>) {
    match (parse_answer(raw.as_bytes()), expected) {
        (Ok(answer), Ok((status, body))) => {
            assert_eq!(
                (answer.status, String::from_utf8(answer.body).unwrap().as_str()),
                (status, body),
                "{raw:?}"
            );
        }
        (Err(error), Err(text)) => assert_eq!(error.to_string(), text, "{raw:?}"),
        (found, expected) => panic!("{raw:?}: found {found:?}, expected {expected:?}"),
    }
}

#[test]
fn answers_are_taken_apart() {
    check("HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nbody", Ok((200, "body")));
    check("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 2\r\n\r\nno", Ok((503, "no")));
    check("HTTP/1.0 204\r\n\r\n", Ok((204, "")));
}

#[test]
fn what_is_not_http_is_refused() {
    let not = |why: &str| format!("the answer of the monitoring port is not HTTP: {why}");
    check("", Err(&not("its headers have no end")));
    check("SSH-2.0-OpenSSH\r\n\r\n", Err(&not("its first line is no status line")));
    check("HTTP/1.0 2000 OK\r\n\r\n", Err(&not("its first line is no status line")));
    check("HTTP/1.0 +20 OK\r\n\r\n", Err(&not("its first line is no status line")));
    check("HTTP/1.0 200 OK\r\nno colon\r\n\r\n", Err(&not("a header has no colon")));
    check("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0", Err(&not("it is chunked")));
    let cut = not("its body is not as long as its header says");
    check("HTTP/1.0 200 OK\r\nContent-Length: 9\r\n\r\nbody", Err(&cut));
    check("HTTP/1.0 200 OK\r\nContent-Length: nine\r\n\r\nbody", Err(&cut));
}

#[test]
fn varz_is_read_with_the_certificate_of_each_listener() {
    let body = br#"{"server_id":"N","server_name":"east-1","version":"2.15.1","config_digest":"sha256:ab",
        "tls_cert_not_after":"2026-12-01T00:00:00Z","cluster":{"name":"east","tls_cert_not_after":"2026-12-02T00:00:00Z"},
        "gateway":{},"leaf":{"tls_cert_not_after":"0001-01-01T00:00:00Z"},"unknown":[1]}"#;
    let expected = RunningObserved::Answered {
        digest: "sha256:ab".to_owned(),
        version: "2.15.1".to_owned(),
        server_name: "east-1".to_owned(),
        certificates: [("client", "2026-12-01T00:00:00Z"), ("cluster", "2026-12-02T00:00:00Z")]
            .map(|(listener, date)| (listener.to_owned(), date.to_owned()))
            .into(),
    };
    assert_eq!(parse_varz(body).unwrap(), expected);
    let error = parse_varz(br#"{"version":"2.15.1"}"#).unwrap_err();
    assert_eq!(
        host_state::chain(&error),
        "`/varz` cannot be read: missing field `config_digest` at line 1 column 20"
    );
}

proptest! {
    #[test]
    fn no_bytes_make_the_parsers_panic(raw in proptest::collection::vec(any::<u8>(), 0..512)) {
        let _ = parse_answer(&raw);
        let _ = parse_varz(&raw);
    }

    #[test]
    fn near_answers_never_panic(status in "[A-Z0-9/. ]{0,16}", header in "[ -~\r\n]{0,64}", body in "[ -~]{0,64}") {
        let _ = parse_answer(format!("{status}\r\n{header}\r\n\r\n{body}").as_bytes());
        let _ = parse_answer(format!("HTTP/1.1 {status}\r\n{header}\r\n\r\n{body}").as_bytes());
    }

    #[test]
    fn every_whole_answer_comes_back(status in 100_u16..600, body in proptest::collection::vec(any::<u8>(), 0..256)) {
        let mut raw = format!("HTTP/1.0 {status} Said\r\nContent-Length: {}\r\n\r\n", body.len()).into_bytes();
        raw.extend(&body);
        prop_assert_eq!(parse_answer(&raw).unwrap(), Answer { status, body });
    }
}

/// Answers one connection with `answer` and returns where.
async fn server(answer: Vec<u8>) -> SocketAddr {
    let listener = TcpListener::bind("127.71.1.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = [0; 1024];
        let _ = stream.read(&mut request).await;
        let _ = stream.write_all(&answer).await;
    });
    address
}

#[tokio::test]
async fn health_is_told_in_the_servers_own_words() {
    let sick =
        b"HTTP/1.0 503 Service Unavailable\r\n\r\n{\"status\":\"unavailable\",\"error\":\"no meta leader\"}";
    let address = server(sick.to_vec()).await;
    let error = healthz(address, "js-meta-only=true").await.unwrap_err();
    assert_eq!(error, "the monitoring port answered 503: no meta leader");
    let address = server(b"HTTP/1.0 200 OK\r\n\r\n{\"status\":\"ok\"}".to_vec()).await;
    healthz(address, "").await.unwrap();
}

#[tokio::test]
async fn nobody_there_is_silence_with_its_reason() {
    let address = "127.71.1.2:9".parse().unwrap();
    let RunningObserved::Silent { reason } = running(address).await else { panic!("somebody answered") };
    assert!(
        reason.starts_with("cannot connect to the monitoring port `127.71.1.2:9`: Connection refused"),
        "{reason}"
    );
}

#[tokio::test]
async fn an_endless_answer_is_cut_off() {
    let mut endless = b"HTTP/1.0 200 OK\r\n\r\n".to_vec();
    endless.resize(MAX_ANSWER_BYTES + 4096, b'x');
    let RunningObserved::Silent { reason } = running(server(endless).await).await else {
        panic!("it was read")
    };
    assert_eq!(reason, "the answer of the monitoring port is longer than 8388608 bytes");
}
