//! Frames: what is written between two peers.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use thiserror::Error;

use super::headers::{Deflater, Headers, Inflater};

/// The largest control frame that is accepted, in bytes.
const MAX_CONTROL: usize = 64 * 1024;
/// The largest piece in which data is handed on; a larger frame arrives in several pieces.
const MAX_PIECE: usize = 32 * 1024;
/// The protocol version in control frames; 3 stands for 3.1 too.
const VERSION: u16 = 3;
const FLAG_FIN: u8 = 1;
const FLAG_UNIDIRECTIONAL: u8 = 2;

/// Why a connection cannot be read any further.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum Error {
    /// A control frame of another protocol version.
    #[error("unsupported SPDY version {0}")]
    Version(u16),
    /// A frame too short for its type, or too long to be held.
    #[error("control frame of {0} bytes where that makes no sense")]
    Length(usize),
    /// A header block that does not decompress or parse.
    #[error("header block: {0}")]
    Headers(&'static str),
}

/// Why a stream ended before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResetStatus(pub u32);

impl ResetStatus {
    /// The peer broke the protocol.
    pub const PROTOCOL_ERROR: ResetStatus = ResetStatus(1);
    /// The frame names a stream that does not exist.
    pub const INVALID_STREAM: ResetStatus = ResetStatus(2);
    /// The stream was refused before anything was done with it.
    pub const REFUSED_STREAM: ResetStatus = ResetStatus(3);
    /// Nobody needs the stream any more.
    pub const CANCEL: ResetStatus = ResetStatus(5);
}

/// One frame. Data frames may be split on reading; only the last piece carries `fin`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// Opens a stream.
    SynStream {
        /// Odd from clients, even from servers, always growing.
        id: u32,
        /// Nothing but headers will come from the opener.
        fin: bool,
        /// The other side may not answer on the stream.
        unidirectional: bool,
        /// What the stream is for.
        headers: Headers,
    },
    /// Accepts a stream.
    SynReply {
        /// The stream.
        id: u32,
        /// The answer has no data.
        fin: bool,
        /// Headers of the answer.
        headers: Headers,
    },
    /// Ends a stream in both directions.
    RstStream {
        /// The stream.
        id: u32,
        /// Why.
        status: ResetStatus,
    },
    /// Parameters of the connection, as (id, value).
    Settings(Vec<(u32, u32)>),
    /// A sign of life; the peer echoes it.
    Ping(u32),
    /// No new streams are accepted.
    GoAway {
        /// The last stream that was accepted.
        last: u32,
    },
    /// Further headers of a stream.
    Headers {
        /// The stream.
        id: u32,
        /// No more data follows.
        fin: bool,
        /// The headers.
        headers: Headers,
    },
    /// The peer may send so many bytes more.
    WindowUpdate {
        /// The stream, or 0 for the connection.
        id: u32,
        /// Bytes.
        delta: u32,
    },
    /// Bytes of a stream.
    Data {
        /// The stream.
        id: u32,
        /// No more data follows.
        fin: bool,
        /// The bytes.
        data: Bytes,
    },
    /// A frame type this side does not know; it is skipped.
    Unknown(u16),
}

/// Turns frames into bytes. One per connection, since headers share a compression context.
pub struct Encoder(Deflater);

impl Default for Encoder {
    fn default() -> Self {
        Encoder(Deflater::new())
    }
}

impl Encoder {
    /// Appends `frame` to `out`.
    pub fn encode(&mut self, frame: &Frame, out: &mut BytesMut) {
        match frame {
            Frame::SynStream { id, fin, unidirectional, headers } => {
                let block = self.0.block(headers);
                let flags = u8::from(*fin) * FLAG_FIN + u8::from(*unidirectional) * FLAG_UNIDIRECTIONAL;
                control(out, 1, flags, 10 + block.len());
                out.put_u32(*id);
                out.put_u32(0);
                out.put_u16(0);
                out.put_slice(&block);
            }
            Frame::SynReply { id, fin, headers } => self.with_headers(out, 2, *id, *fin, headers),
            Frame::RstStream { id, status } => {
                control(out, 3, 0, 8);
                out.put_u32(*id);
                out.put_u32(status.0);
            }
            Frame::Settings(values) => {
                control(out, 4, 0, 4 + 8 * values.len());
                out.put_u32(values.len() as u32);
                for (id, value) in values {
                    out.put_u32(*id & 0x00ff_ffff);
                    out.put_u32(*value);
                }
            }
            Frame::Ping(id) => {
                control(out, 6, 0, 4);
                out.put_u32(*id);
            }
            Frame::GoAway { last } => {
                control(out, 7, 0, 8);
                out.put_u32(*last);
                out.put_u32(0);
            }
            Frame::Headers { id, fin, headers } => self.with_headers(out, 8, *id, *fin, headers),
            Frame::WindowUpdate { id, delta } => {
                control(out, 9, 0, 8);
                out.put_u32(*id);
                out.put_u32(*delta);
            }
            Frame::Data { id, fin, data } => {
                out.put_u32(*id & 0x7fff_ffff);
                out.put_u32(u32::from(*fin) << 24 | (data.len() as u32 & 0x00ff_ffff));
                out.put_slice(data);
            }
            Frame::Unknown(_) => {}
        }
    }

    fn with_headers(&mut self, out: &mut BytesMut, kind: u16, id: u32, fin: bool, headers: &Headers) {
        let block = self.0.block(headers);
        control(out, kind, u8::from(fin), 4 + block.len());
        out.put_u32(id);
        out.put_slice(&block);
    }
}

fn control(out: &mut BytesMut, kind: u16, flags: u8, length: usize) {
    out.put_u16(0x8000 | VERSION);
    out.put_u16(kind);
    out.put_u32(u32::from(flags) << 24 | (length as u32 & 0x00ff_ffff));
}

/// Turns bytes into frames. One per connection.
pub struct Decoder {
    inflater: Inflater,
    /// A data frame of which some bytes are still to come: stream, fin, bytes left.
    pending: Option<(u32, bool, usize)>,
}

impl Default for Decoder {
    fn default() -> Self {
        Decoder { inflater: Inflater::new(), pending: None }
    }
}

impl Decoder {
    /// Takes the next frame off `input`; `None` asks for more bytes.
    pub fn decode(&mut self, input: &mut BytesMut) -> Result<Option<Frame>, Error> {
        if let Some((id, fin, left)) = self.pending {
            return Ok(self.piece(input, id, fin, left));
        }
        let Some(head) = input.first_chunk::<8>() else { return Ok(None) };
        let [a, b, c, d, flags, l0, l1, l2] = *head;
        let length = u32::from_be_bytes([0, l0, l1, l2]) as usize;
        if a & 0x80 == 0 {
            let id = u32::from_be_bytes([a, b, c, d]);
            input.advance(8);
            return Ok(self.piece(input, id, flags & FLAG_FIN != 0, length));
        }
        let version = u16::from_be_bytes([a & 0x7f, b]);
        if version != VERSION {
            return Err(Error::Version(version));
        }
        if length > MAX_CONTROL {
            return Err(Error::Length(length));
        }
        if input.len() < 8 + length {
            input.reserve(8 + length - input.len());
            return Ok(None);
        }
        input.advance(8);
        let body = input.split_to(length);
        self.control(u16::from_be_bytes([c, d]), flags, &body).map(Some)
    }

    fn piece(&mut self, input: &mut BytesMut, id: u32, fin: bool, left: usize) -> Option<Frame> {
        if left > 0 && input.is_empty() {
            self.pending = Some((id, fin, left));
            return None;
        }
        let take = left.min(input.len()).min(MAX_PIECE);
        let data = Bytes::copy_from_slice(&input[..take]);
        input.advance(take);
        let rest = left - take;
        self.pending = (rest > 0).then_some((id, fin, rest));
        Some(Frame::Data { id, fin: fin && rest == 0, data })
    }

    fn control(&mut self, kind: u16, flags: u8, body: &[u8]) -> Result<Frame, Error> {
        let short = Error::Length(body.len());
        let word = |at: usize| -> Result<u32, Error> {
            let bytes = body.get(at..at + 4).and_then(|b| b.first_chunk::<4>()).ok_or(Error::Length(body.len()))?;
            Ok(u32::from_be_bytes(*bytes))
        };
        let id = |at: usize| word(at).map(|w| w & 0x7fff_ffff);
        let fin = flags & FLAG_FIN != 0;
        Ok(match kind {
            1 => {
                let headers = self.inflater.block(body.get(10..).ok_or(short)?)?;
                Frame::SynStream { id: id(0)?, fin, unidirectional: flags & FLAG_UNIDIRECTIONAL != 0, headers }
            }
            2 => Frame::SynReply { id: id(0)?, fin, headers: self.inflater.block(body.get(4..).ok_or(short)?)? },
            3 => Frame::RstStream { id: id(0)?, status: ResetStatus(word(4)?) },
            4 => {
                let count = word(0)? as usize;
                if body.len() < 4 + count.saturating_mul(8) {
                    return Err(short);
                }
                let pair = |i: usize| Ok((word(4 + 8 * i)? & 0x00ff_ffff, word(8 + 8 * i)?));
                Frame::Settings((0..count).map(pair).collect::<Result<_, _>>()?)
            }
            6 => Frame::Ping(word(0)?),
            7 => Frame::GoAway { last: id(0)? },
            8 => Frame::Headers { id: id(0)?, fin, headers: self.inflater.block(body.get(4..).ok_or(short)?)? },
            9 => Frame::WindowUpdate { id: id(0)?, delta: word(4)? & 0x7fff_ffff },
            other => Frame::Unknown(other),
        })
    }
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng, rngs::StdRng};

    use super::*;

    fn samples() -> Vec<Frame> {
        let headers = Headers::from([("streamtype", "stdin"), ("port", "80")]);
        vec![
            Frame::SynStream { id: 1, fin: false, unidirectional: false, headers: headers.clone() },
            Frame::SynReply { id: 1, fin: false, headers: Headers::default() },
            Frame::Data { id: 1, fin: false, data: Bytes::from_static(b"hello") },
            Frame::Data { id: 1, fin: true, data: Bytes::new() },
            Frame::RstStream { id: 3, status: ResetStatus::CANCEL },
            Frame::Settings(vec![(7, 65536)]),
            Frame::Ping(2),
            Frame::Headers { id: 1, fin: true, headers },
            Frame::WindowUpdate { id: 1, delta: 9 },
            Frame::GoAway { last: 3 },
        ]
    }

    fn encoded() -> BytesMut {
        let (mut encoder, mut out) = (Encoder::default(), BytesMut::new());
        for frame in samples() {
            encoder.encode(&frame, &mut out);
        }
        out
    }

    #[test]
    fn frames_survive_being_cut_anywhere() {
        let wire = encoded();
        for step in [1, 2, 3, 7, 1000] {
            let (mut decoder, mut input, mut seen) = (Decoder::default(), BytesMut::new(), Vec::new());
            for chunk in wire.chunks(step) {
                input.put_slice(chunk);
                while let Some(frame) = decoder.decode(&mut input).unwrap() {
                    match (seen.last_mut(), &frame) {
                        (Some(Frame::Data { fin: false, data, .. }), Frame::Data { fin: false, data: more, .. }) => {
                            *data = Bytes::from([data.clone(), more.clone()].concat());
                        }
                        _ => seen.push(frame),
                    }
                }
            }
            assert_eq!(seen, samples(), "cut every {step} bytes");
        }
    }

    #[test]
    fn hostile_bytes_end_in_an_error_or_a_frame_but_never_in_a_panic() {
        for seed in 0..2000 {
            let mut rng = StdRng::seed_from_u64(seed);
            let mut wire = encoded();
            for _ in 0..rng.random_range(1..20) {
                let at = rng.random_range(0..wire.len());
                wire[at] = rng.random();
            }
            if seed % 3 == 0 {
                wire = (0..rng.random_range(0..300)).map(|_| rng.random::<u8>()).collect::<Vec<_>>().as_slice().into();
            }
            let mut decoder = Decoder::default();
            while let Ok(Some(_)) = decoder.decode(&mut wire) {}
        }
    }

    #[test]
    fn oversized_control_frames_are_refused_before_they_arrive() {
        let mut wire = BytesMut::from(&[0x80, 3, 0, 1, 0, 0xff, 0xff, 0xff][..]);
        assert_eq!(Decoder::default().decode(&mut wire), Err(Error::Length(0x00ff_ffff)));
    }
}
