//! A finished document, kept compressed.

use bytes::Bytes;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha512};
use std::fmt::Write as _;
use std::io::{Read as _, Write as _};

/// A finished document.
#[derive(Clone, Debug)]
pub struct Document {
    /// Its bytes, compressed with gzip: hand them out as they are to whoever takes gzip.
    pub gzip: Bytes,
    /// For `ETag` and for the `hash` of the index, without quotes.
    pub etag: String,
    /// The media type of the bytes.
    pub content_type: &'static str,
}

impl Document {
    /// Compresses the bytes; the etag is their digest.
    pub fn new(content: &[u8], content_type: &'static str) -> Self {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        // Writing to memory does not fail.
        let gzip = encoder.write_all(content).and_then(|()| encoder.finish()).unwrap_or_default();
        Self { gzip: gzip.into(), etag: digest(content), content_type }
    }

    /// The bytes as they were.
    pub fn plain(&self) -> Vec<u8> {
        let mut out = Vec::new();
        // What `new` compressed can be read.
        let _ = GzDecoder::new(&self.gzip[..]).read_to_end(&mut out);
        out
    }
}

/// SHA-512 in capital hexadecimal digits, as upstream has it.
pub fn digest(content: &[u8]) -> String {
    Sha512::digest(content).iter().fold(String::with_capacity(128), |mut out, byte| {
        write!(out, "{byte:02X}").expect("writing to a string");
        out
    })
}
