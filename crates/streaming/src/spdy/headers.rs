//! Header blocks: name/value pairs, compressed with a preset dictionary and one zlib context per direction.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use super::frame::Error;

/// Headers of a stream, in the order sent; names are lower case on the wire.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Headers(pub Vec<(String, String)>);

impl Headers {
    /// The first value of `name`, whatever its case.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }
}

impl<N: Into<String>, V: Into<String>, const L: usize> From<[(N, V); L]> for Headers {
    fn from(pairs: [(N, V); L]) -> Self {
        Headers(pairs.into_iter().map(|(n, v)| (n.into(), v.into())).collect())
    }
}

/// Largest header block after decompression, in bytes.
const MAX_BLOCK: usize = 64 * 1024;
/// Most pairs in one block.
const MAX_PAIRS: u32 = 256;

/// Names that open the dictionary, each preceded by its length (rule: SPDY/3.1, section 2.6.10.1).
const DICTIONARY_WORDS: &[&str] = &[
    "options",
    "head",
    "post",
    "put",
    "delete",
    "trace",
    "accept",
    "accept-charset",
    "accept-encoding",
    "accept-language",
    "accept-ranges",
    "age",
    "allow",
    "authorization",
    "cache-control",
    "connection",
    "content-base",
    "content-encoding",
    "content-language",
    "content-length",
    "content-location",
    "content-md5",
    "content-range",
    "content-type",
    "date",
    "etag",
    "expect",
    "expires",
    "from",
    "host",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "last-modified",
    "location",
    "max-forwards",
    "pragma",
    "proxy-authenticate",
    "proxy-authorization",
    "range",
    "referer",
    "retry-after",
    "server",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "vary",
    "via",
    "warning",
    "www-authenticate",
    "method",
    "get",
    "status",
    "200 OK",
    "version",
    "HTTP/1.1",
    "url",
    "public",
    "set-cookie",
    "keep-alive",
    "origin",
];

/// The rest of the dictionary, without lengths.
const DICTIONARY_TEXT: &str = "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504\
505203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized403 Forbidden404 \
Not Found500 Internal Server Error501 Not Implemented503 Service UnavailableJan Feb Mar Apr May Jun Jul Aug Sept Oct \
Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMTchunked,text/html,image/png,image/jpg,image/gif,\
application/xml,application/xhtml+xml,text/plain,text/javascript,publicprivatemax-age=gzip,deflate,sdchcharset=utf-8\
charset=iso-8859-1,utf-,*,enq=0.";

fn dictionary() -> Vec<u8> {
    let mut out = Vec::with_capacity(1423);
    for word in DICTIONARY_WORDS {
        out.extend_from_slice(&(word.len() as u32).to_be_bytes());
        out.extend_from_slice(word.as_bytes());
    }
    out.extend_from_slice(DICTIONARY_TEXT.as_bytes());
    out
}

/// Compresses the header blocks of one direction.
pub(super) struct Deflater(Compress);

impl Deflater {
    pub(super) fn new() -> Self {
        let mut zlib = Compress::new(Compression::fast(), true);
        zlib.set_dictionary(&dictionary()).expect("a fresh compressor takes a dictionary");
        Deflater(zlib)
    }

    pub(super) fn block(&mut self, headers: &Headers) -> Vec<u8> {
        let mut plain = Vec::new();
        plain.extend_from_slice(&(headers.0.len() as u32).to_be_bytes());
        for (name, value) in &headers.0 {
            for text in [&name.to_ascii_lowercase(), value] {
                plain.extend_from_slice(&(text.len() as u32).to_be_bytes());
                plain.extend_from_slice(text.as_bytes());
            }
        }
        let mut out = Vec::with_capacity(plain.len() + 64);
        let start = self.0.total_in();
        loop {
            let consumed = (self.0.total_in() - start) as usize;
            let room = out.capacity() - out.len();
            let status = self.0.compress_vec(&plain[consumed..], &mut out, FlushCompress::Sync);
            let done = (self.0.total_in() - start) as usize == plain.len() && out.len() < out.capacity();
            if done || status.is_err() {
                return out;
            }
            out.reserve(room.max(64));
        }
    }
}

/// Decompresses the header blocks of one direction.
pub(super) struct Inflater {
    zlib: Decompress,
    primed: bool,
}

impl Inflater {
    pub(super) fn new() -> Self {
        Inflater { zlib: Decompress::new(true), primed: false }
    }

    pub(super) fn block(&mut self, compressed: &[u8]) -> Result<Headers, Error> {
        let plain = self.inflate(compressed)?;
        parse(&plain)
    }

    fn inflate(&mut self, compressed: &[u8]) -> Result<Vec<u8>, Error> {
        let mut out = Vec::with_capacity(1024);
        let start = self.zlib.total_in();
        loop {
            let consumed = (self.zlib.total_in() - start) as usize;
            let input = compressed.get(consumed..).ok_or(Error::Headers("bad compression"))?;
            let before = out.len();
            match self.zlib.decompress_vec(input, &mut out, FlushDecompress::Sync) {
                Ok(Status::StreamEnd) => return Ok(out),
                Ok(_) => {}
                Err(e) if e.needs_dictionary().is_some() && !self.primed => {
                    self.zlib.set_dictionary(&dictionary()).map_err(|_| Error::Headers("foreign dictionary"))?;
                    self.primed = true;
                    continue;
                }
                Err(_) => return Err(Error::Headers("bad compression")),
            }
            let consumed_now = (self.zlib.total_in() - start) as usize;
            if out.len() > MAX_BLOCK {
                return Err(Error::Headers("block too large"));
            }
            if out.len() == out.capacity() {
                out.reserve(out.len().max(1024));
            } else if consumed_now >= compressed.len() || (consumed_now == consumed && out.len() == before) {
                return Ok(out);
            }
        }
    }
}

fn parse(mut block: &[u8]) -> Result<Headers, Error> {
    let count = take_u32(&mut block)?;
    if count > MAX_PAIRS {
        return Err(Error::Headers("too many pairs"));
    }
    let mut pairs = Vec::new();
    for _ in 0..count {
        let name = take_text(&mut block)?;
        // Several values of one name arrive as one text, divided by NUL.
        for value in take_text(&mut block)?.split('\0') {
            pairs.push((name.clone(), value.to_owned()));
        }
    }
    Ok(Headers(pairs))
}

fn take_u32(block: &mut &[u8]) -> Result<u32, Error> {
    let (head, rest) = block.split_first_chunk::<4>().ok_or(Error::Headers("block too short"))?;
    *block = rest;
    Ok(u32::from_be_bytes(*head))
}

fn take_text(block: &mut &[u8]) -> Result<String, Error> {
    let length = take_u32(block)? as usize;
    let (head, rest) = block.split_at_checked(length).ok_or(Error::Headers("block too short"))?;
    *block = rest;
    Ok(String::from_utf8_lossy(head).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dictionary_is_the_published_one() {
        // The first block of any SPDY/3 connection starts with this zlib header and dictionary checksum.
        let block = Deflater::new().block(&Headers::default());
        assert_eq!(block[2..6], [0xe3, 0xc6, 0xa7, 0xc2]);
        assert_eq!(dictionary().len(), 1423);
    }

    #[test]
    fn blocks_survive_the_way_there_and_back() {
        let (mut deflate, mut inflate) = (Deflater::new(), Inflater::new());
        for n in 0..50usize {
            let sent = Headers((0..n).map(|i| (format!("header-{i}"), "v".repeat(i * n))).collect());
            assert_eq!(inflate.block(&deflate.block(&sent)).unwrap(), sent, "{n} headers");
        }
    }

    #[test]
    fn a_small_block_that_grows_large_is_refused() {
        let bomb = Headers::from([("a", "x".repeat(10 * MAX_BLOCK))]);
        assert!(Inflater::new().block(&Deflater::new().block(&bomb)).is_err());
    }
}
