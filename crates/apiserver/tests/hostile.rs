//! Bad input over the wire: each is answered with a clean error or a closed connection, and the server stays well.

mod common;

use common::Server;
use std::io::{Read, Write};
use std::time::{Duration, Instant};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const JSON: &str = "application/json";
const YAML: &str = "application/yaml";
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

/// A body of ConfigMap kind with something wrong at its end.
fn config_map(end: &str) -> Vec<u8> {
    format!("{{\"kind\":\"ConfigMap\",\"apiVersion\":\"v1\",\"metadata\":{{\"name\":\"x\"}},{end}").into_bytes()
}

/// A field of protobuf with a length before it.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    let mut length = content.len();
    while length > 0x7f {
        out.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
    out.extend_from_slice(content);
    out
}

/// An object in protobuf as upstream wraps it.
fn wrapped(raw: &[u8]) -> Vec<u8> {
    let kind = [field(1, b"v1"), field(2, b"ConfigMap")].concat();
    [b"k8s\0".to_vec(), field(1, &kind), field(2, raw)].concat()
}

#[test]
fn bodies() {
    let server = Server::start();
    let nested = (0..10_000).fold(Vec::new(), |inner, _| field(1, &inner));
    let bomb: String =
        (1..10).map(|i| format!("a{i}: &a{i} [{}]\n", vec![format!("*a{}", i - 1); 9].join(","))).collect();
    let indented: String = (0..2000).map(|i| format!("{}a:\n", " ".repeat(i))).collect();
    let table: &[(&str, &str, Vec<u8>, &[u16])] = &[
        ("nothing", JSON, Vec::new(), &[400]),
        ("cut off", JSON, config_map("\"data\":{\"a\":"), &[400]),
        ("not UTF-8", JSON, b"{\"\xff\xfe\xc0".to_vec(), &[400]),
        ("NUL", JSON, b"\0\0\0\0".to_vec(), &[400]),
        ("4 MiB", JSON, config_map(&format!("\"data\":{{\"a\":\"{}\"}}}}", "a".repeat(4 << 20))), &[413]),
        ("2 MiB of data", JSON, config_map(&format!("\"data\":{{\"a\":\"{}\"}}}}", "a".repeat(2 << 20))), &[422]),
        ("deep lists", JSON, "[".repeat(10_000).into_bytes(), &[400]),
        ("a million open lists", JSON, "[".repeat(1_000_000).into_bytes(), &[400]),
        ("deep objects", JSON, "{\"a\":".repeat(100_000).into_bytes(), &[400]),
        (
            "deep in an unknown field",
            JSON,
            config_map(&format!("\"zz\":{}{}}}", "[".repeat(20_000), "]".repeat(20_000))),
            &[400],
        ),
        ("compressed", JSON, b"\x1f\x8b\x08\0\0\0\0\0".to_vec(), &[400]),
        ("deep flow lists", YAML, "[".repeat(1_000_000).into_bytes(), &[400]),
        ("deep flow maps", YAML, "{a: ".repeat(10_000).into_bytes(), &[400]),
        ("deep block lists", YAML, "- ".repeat(1_000_000).into_bytes(), &[400]),
        ("deep block maps", YAML, indented.into_bytes(), &[400]),
        ("complex keys", YAML, "? ".repeat(500_000).into_bytes(), &[400]),
        ("an alias of itself", YAML, b"a: &a [*a]\n".to_vec(), &[400]),
        ("aliases that explode", YAML, format!("a0: &a0 [x,x,x,x,x,x,x,x,x]\n{bomb}").into_bytes(), &[400]),
        ("a key half a million times", YAML, "a: 1\n".repeat(500_000).into_bytes(), &[422]),
        ("half a million documents", YAML, "---\n".repeat(500_000).into_bytes(), &[422]),
        ("not YAML", YAML, b"\t\ta: \0".to_vec(), &[400]),
        ("no envelope", PROTOBUF, b"abc".to_vec(), &[400]),
        ("half an envelope", PROTOBUF, b"k8s".to_vec(), &[400]),
        ("an envelope too long", PROTOBUF, b"k8s\0\x0a\xff\xff\xff\xff\x0f".to_vec(), &[400]),
        ("garbage in an envelope", PROTOBUF, wrapped(&[0xff; 100]), &[400]),
        ("groups", PROTOBUF, wrapped(&[0x0b; 100_000]), &[400]),
        ("deep messages", PROTOBUF, wrapped(&nested), &[400, 422]),
        ("no known encoding", "text/plain", b"x".to_vec(), &[415]),
        ("an endless type", &format!("a/{}", "b;".repeat(20_000)), b"x".to_vec(), &[415]),
    ];
    for (name, kind, body, wanted) in table {
        let began = Instant::now();
        let answer = server.request("POST", MAPS, &format!("Content-Type: {kind}\r\n"), body);
        let told = answer.body.get(..answer.body.len().min(300)).unwrap_or("");
        assert!(wanted.contains(&answer.code), "{name}: {} {told}", answer.code);
        let status: serde_json::Value = serde_json::from_str(&answer.body).unwrap_or_default();
        assert_eq!(status["kind"], "Status", "{name}: {told}");
        assert!(began.elapsed() < Duration::from_secs(20), "{name} took {:?}", began.elapsed());
        server.is_well(name);
    }
}

#[test]
fn targets_and_headers() {
    let server = Server::start();
    let many = |text: &str, n: usize| text.repeat(n);
    let map = |name: &str| format!("{MAPS}/{name}");
    let query = |text: &str| format!("{MAPS}?{text}");
    for (target, wanted) in [
        (map("a%2Fb"), 404),
        (map("a%00b"), 400),
        (map("%zz"), 400),
        (map("."), 404),
        (map(".."), 404),
        (map("a\\b"), 404),
        (map(&many("a", 60_000)), 404),
        (map(&many("a/", 30_000)), 404),
        ("/api/v1/../v1/namespaces".into(), 404),
        ("/api/v1/namespaces/..%2f..%2fx/configmaps".into(), 404),
        ("//api//v1//namespaces".into(), 404),
        // Upstream cannot tell what is meant (`NewRequestInfo`), and says so with a 500.
        ("/api/v1/watch".into(), 500),
        (format!("/{}", many("x", 900_000)), 431),
        (query(&format!("labelSelector={}", many("(", 50_000))), 400),
        (query(&format!("labelSelector={}", many("!", 50_000))), 400),
        (query(&format!("labelSelector=a%20in%20(b{})", many(",b", 25_000))), 200),
        (query(&format!("labelSelector=a{}", many(",a=b", 12_000))), 200),
        (query("labelSelector=%ff%fe"), 400),
        (query(&format!("fieldSelector={}", many("%5C", 20_000))), 400),
        (query(&many("limit=1&", 8_000)), 200),
        (query("limit=99999999999999999999"), 400),
        (query(&format!("continue={}", many("A", 50_000))), 400),
        (query("limit=1&continue=eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6LTEsInN0YXJ0IjoiLi4vLi4vIn0"), 400),
        (query("resourceVersion=-1"), 400),
        (query("resourceVersion=99999999999999999999999"), 400),
        (query("timeoutSeconds=99999999999999999999&watch=1"), 400),
        (query("timeout=-1s"), 200),
        (query("timeout=99999999999999h"), 400),
        (query("timeout=5"), 400),
    ] {
        let answer = server.get(&target);
        assert_eq!(answer.code, wanted, "{:.80}: {:.300}", target, answer.body);
    }
    for (header, wanted) in [
        (format!("X-A: {}", many("y", 1_100_000)), 431),
        ((0..5000).map(|i| format!("X-{i}: y")).collect::<Vec<_>>().join("\r\n"), 431),
        (format!("Accept: {}", many("a/b;q=1,", 10_000)), 406),
        ("Accept: ;;,,;q=zz".into(), 406),
        (format!("Impersonate-User: a\r\nImpersonate-Extra-{}: 1", many("%41", 5_000)), 403),
        ("Impersonate-Group: a".into(), 500),
        ("Content-Length: 11".into(), 400),
        ("Transfer-Encoding: chunked".into(), 200),
    ] {
        let answer = server.request("GET", MAPS, &format!("{header}\r\n"), b"");
        assert!(answer.code == wanted || answer.code == 400, "{header:.80}: {} {:.300}", answer.code, answer.body);
    }
    for bytes in [&b"\0\x01\x02\x03"[..], b"GET / HTTP/9.9\r\n\r\n", b"GET\r\n\r\n", b"\r\n\r\n\r\n\r\nX\r\n\r\n"] {
        assert_eq!(server.raw(bytes).code, 400, "{bytes:?}");
    }
    server.is_well("targets and headers");
}

#[test]
fn connections() {
    let server = Server::start();
    // Who speaks no TLS, or begins and never ends it.
    let mut plain = server.tcp();
    plain.write_all(b"GET / HTTP/1.1\r\n\r\n").expect("the server listens");
    let mut silent: Vec<_> = (0..200).map(|_| server.tcp()).collect();
    for tcp in silent.iter_mut().step_by(2) {
        let _ = tcp.write_all(b"\x16\x03\x01\x02\x00\x01");
    }
    server.is_well("unfinished handshakes");
    // Headers that never end, and a body that never comes.
    let slow: Vec<_> = (0..100)
        .map(|i| {
            let mut tls = server.tls("http/1.1");
            let begun = match i % 2 {
                0 => "GET / HTTP/1.1\r\nX: ".to_owned(),
                _ => format!("POST {MAPS} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n{{"),
            };
            tls.write_all(begun.as_bytes()).and_then(|()| tls.flush()).expect("the server listens");
            tls
        })
        .collect();
    server.is_well("slow clients");
    drop((silent, slow));
    server.is_well("clients that leave");
}

/// An HTTP/2 frame.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
    out
}

#[test]
fn http2() {
    let server = Server::start();
    // :method GET, :scheme https, :path /api, :authority x.
    let get = [0x82, 0x87, 0x04, 4, b'/', b'a', b'p', b'i', 0x41, 1, b'x'];
    let streams = || (0..5_000u32).map(|i| 2 * i + 1);
    let table: &[(&str, Vec<u8>)] = &[
        (
            "streams reset at once",
            streams().flat_map(|s| [frame(1, 5, s, &get), frame(3, 0, s, &[0, 0, 0, 8])].concat()).collect(),
        ),
        ("streams that never end", streams().flat_map(|s| frame(1, 4, s, &get)).collect()),
        ("pings", (0..100_000).flat_map(|_| frame(6, 0, 0, &[0; 8])).collect()),
        ("settings", (0..50_000).flat_map(|_| frame(4, 0, 0, &[])).collect()),
        ("empty frames", [frame(1, 4, 1, &get), (0..100_000).flat_map(|_| frame(0, 0, 1, &[])).collect()].concat()),
        (
            "headers that never end",
            [frame(1, 0, 1, &get), (0..2_000).flat_map(|_| frame(9, 0, 1, &[0x40; 1000])).collect()].concat(),
        ),
        ("a frame too long", frame(1, 4, 1, &[0; 100_000])),
        ("garbage", vec![0xff; 100_000]),
        ("a window of zero", [frame(4, 0, 0, &[0, 4, 0, 0, 0, 0]), frame(1, 5, 1, &get)].concat()),
    ];
    for (name, frames) in table {
        let mut tls = server.tls("h2");
        tls.sock.set_read_timeout(Some(Duration::from_secs(2))).expect("a timeout can be set");
        tls.sock.set_write_timeout(Some(Duration::from_secs(2))).expect("a timeout can be set");
        let _ = tls.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        let _ = tls.write_all(&frame(4, 0, 0, &[]));
        let _ = tls.write_all(frames).and_then(|()| tls.flush());
        let mut some = [0; 4096];
        let _ = tls.read(&mut some);
        server.is_well(name);
    }
}
