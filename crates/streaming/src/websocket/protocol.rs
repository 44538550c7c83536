//! The channel protocols: what a message means.

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use tokio_tungstenite::tungstenite::Message;

/// The subprotocol under which SPDY frames of a port-forward travel in binary messages (rule: KEP-4006).
pub const TUNNEL_PROTOCOL: &str = "SPDY/3.1+portforward.k8s.io";

/// The number of the channel by which a v5 client half-closes another channel.
const CLOSE_CHANNEL: u8 = 255;

/// A negotiated channel protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Protocol {
    /// The name that goes back to the client; empty if the client named none.
    pub name: &'static str,
    /// Version: 5 knows half-close, 4 and later end with a `Status` in JSON, 1 with plain text.
    pub version: u8,
    /// Payloads are base64 text and channel numbers are ASCII digits.
    pub base64: bool,
}

/// All channel protocols, best first.
const PROTOCOLS: &[Protocol] = &[
    Protocol { name: "v5.channel.k8s.io", version: 5, base64: false },
    Protocol { name: "v4.channel.k8s.io", version: 4, base64: false },
    Protocol { name: "v4.base64.channel.k8s.io", version: 4, base64: true },
    Protocol { name: "v3.channel.k8s.io", version: 3, base64: false },
    Protocol { name: "v2.channel.k8s.io", version: 2, base64: false },
    Protocol { name: "channel.k8s.io", version: 1, base64: false },
    Protocol { name: "base64.channel.k8s.io", version: 1, base64: true },
    Protocol { name: "", version: 1, base64: false },
];

impl Protocol {
    /// The first protocol the client offers that is known; without any offer the oldest one.
    pub fn negotiate(offered: &[&str]) -> Option<Self> {
        if offered.is_empty() {
            return PROTOCOLS.last().copied();
        }
        offered.iter().find_map(|o| PROTOCOLS.iter().find(|p| !p.name.is_empty() && p.name == *o)).copied()
    }
}

/// What a client sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Incoming {
    /// Bytes of a channel.
    Data(u8, Bytes),
    /// No more bytes will come on a channel.
    Close(u8),
    /// The client is done.
    End,
    /// Nothing of interest (pings, malformed messages).
    Nothing,
}

/// Reads one message.
pub fn decode(protocol: Protocol, message: Message) -> Incoming {
    let payload = match message {
        Message::Binary(bytes) => bytes,
        Message::Text(text) => Bytes::from(text),
        Message::Close(_) => return Incoming::End,
        _ => return Incoming::Nothing,
    };
    let Some((&first, _)) = payload.split_first() else { return Incoming::Nothing };
    let rest = payload.slice(1..);
    if protocol.base64 {
        let number = first.wrapping_sub(b'0');
        return STANDARD.decode(&rest).map_or(Incoming::Nothing, |data| Incoming::Data(number, data.into()));
    }
    match (first, rest.first()) {
        (CLOSE_CHANNEL, Some(&channel)) if protocol.version >= 5 => Incoming::Close(channel),
        (CLOSE_CHANNEL, _) => Incoming::Nothing,
        (channel, _) => Incoming::Data(channel, rest),
    }
}

/// Makes the message that carries `data` of `channel`.
pub fn encode(protocol: Protocol, channel: u8, data: &[u8]) -> Message {
    if protocol.base64 {
        let mut text = String::with_capacity(1 + data.len().div_ceil(3) * 4);
        text.push(char::from(b'0'.wrapping_add(channel)));
        STANDARD.encode_string(data, &mut text);
        return Message::text(text);
    }
    let mut out = Vec::with_capacity(1 + data.len());
    out.push(channel);
    out.extend_from_slice(data);
    Message::binary(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clients_first_known_protocol_wins() {
        let check = |offered: &[&str], expect: Option<&str>| {
            assert_eq!(Protocol::negotiate(offered).map(|p| p.name), expect, "{offered:?}");
        };
        check(&["v5.channel.k8s.io", "v4.channel.k8s.io"], Some("v5.channel.k8s.io"));
        check(&["nonsense", "base64.channel.k8s.io"], Some("base64.channel.k8s.io"));
        check(&[], Some(""));
        check(&["nonsense"], None);
    }

    #[test]
    fn messages_mean_what_their_protocol_says() {
        let of = |name: &str| Protocol::negotiate(&[name]).unwrap();
        let check = |name: &str, message: Message, expect: Incoming| assert_eq!(decode(of(name), message), expect);
        check("v4.channel.k8s.io", Message::binary(&b"\x00ls\n"[..]), Incoming::Data(0, Bytes::from_static(b"ls\n")));
        check("v5.channel.k8s.io", Message::binary(&b"\xff\x00"[..]), Incoming::Close(0));
        check("v4.channel.k8s.io", Message::binary(&b"\xff\x00"[..]), Incoming::Nothing);
        check("base64.channel.k8s.io", Message::text("0aGk="), Incoming::Data(0, Bytes::from_static(b"hi")));
        check("base64.channel.k8s.io", Message::text("0%%%"), Incoming::Nothing);
        check("v4.channel.k8s.io", Message::binary(&b""[..]), Incoming::Nothing);
        check("v4.channel.k8s.io", Message::Close(None), Incoming::End);
        for name in ["v4.channel.k8s.io", "base64.channel.k8s.io"] {
            let sent = encode(of(name), 2, b"oops");
            assert_eq!(decode(of(name), sent), Incoming::Data(2, Bytes::from_static(b"oops")));
        }
    }
}
