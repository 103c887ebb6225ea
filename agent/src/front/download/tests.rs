//! Downloads from a small server of our own, and from none.

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};

use super::*;

/// Answers each connection by the path that is asked for, until the test ends.
fn serve() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
            let Some(request) = lines.next() else { continue };
            let _headers: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
            let path = request.split(' ').nth(1).unwrap_or_default();
            let answer = match path {
                "/file" => "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nnats".to_owned(),
                "/moved" => "HTTP/1.1 302 Found\r\nLocation: /file\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_owned(),
                "/circle" => "HTTP/1.1 302 Found\r\nLocation: /circle\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_owned(),
                "/cut" => "HTTP/1.1 200 OK\r\nContent-Length: 400\r\nConnection: close\r\n\r\nnats".to_owned(),
                "/huge" => {
                    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", u64::MAX / 2)
                }
                _ => "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_owned(),
            };
            let _told = stream.write_all(answer.as_bytes());
        }
    });
    address
}

fn url(address: SocketAddr, path: &str) -> DownloadUrl {
    format!("http://{address}{path}").parse().unwrap()
}

fn sum_of(bytes: &[u8]) -> Sha256Hex {
    HEXLOWER.encode(&Sha256::digest(bytes)).parse().unwrap()
}

fn names(directory: &Path) -> Vec<String> {
    let names = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name());
    names.map(|name| name.into_string().unwrap()).collect()
}

#[test]
fn a_file_is_kept_under_its_sum_and_fetched_once() {
    let directory = tempfile::tempdir().unwrap();
    let (address, wanted) = (serve(), sum_of(b"nats"));
    fs::write(directory.path().join("part"), "of an earlier try").unwrap();
    download(&url(address, "/moved"), &wanted, directory.path()).unwrap();
    assert_eq!(names(directory.path()), [wanted.as_str()]);
    assert_eq!(fs::read(directory.path().join(wanted.as_str())).unwrap(), b"nats");
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    download(&url(nobody, "/file"), &wanted, directory.path()).unwrap();
    fs::write(directory.path().join(wanted.as_str()), "changed").unwrap();
    download(&url(address, "/file"), &wanted, directory.path()).unwrap();
    assert_eq!(fs::read(directory.path().join(wanted.as_str())).unwrap(), b"nats");
}

#[test]
fn what_cannot_be_used_is_told_and_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let address = serve();
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let other = sum_of(b"another");
    let found = sum_of(b"nats");
    for (url, why) in [
        (
            url(address, "/file"),
            format!("has SHA-256 `{}`, the document wants `{}`", found.as_str(), other.as_str()),
        ),
        (url(address, "/none"), "404".to_owned()),
        (url(address, "/circle"), "too many redirects".to_owned()),
        (url(address, "/cut"), "broke off".to_owned()),
        (url(address, "/huge"), format!("more than {DOWNLOAD_LIMIT} bytes")),
        (url(nobody, "/file"), "refused".to_owned()),
        ("https://127.0.0.1:1/x".parse().unwrap(), "refused".to_owned()),
        (
            url(address, "/file").as_str().replace("http:", "https:").parse().unwrap(),
            "cannot be downloaded".to_owned(),
        ),
    ] {
        let told = host_state::chain(&download(&url, &other, directory.path()).unwrap_err());
        assert!(told.to_lowercase().contains(&why.to_lowercase()), "{url}: {told}");
        assert!(told.contains(url.as_str()), "{told}");
        assert_eq!(names(directory.path()), Vec::<String>::new(), "{url}");
    }
}
