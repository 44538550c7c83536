//! The wire format: tags, varints, lengths.

use super::Error;

/// The value of a field, as its wire type tells.
#[derive(Clone, Copy)]
pub enum Wire<'b> {
    /// A number.
    Varint(u64),
    /// Eight bytes.
    Fixed64(u64),
    /// Four bytes.
    Fixed32(u32),
    /// Anything with a length.
    Bytes(&'b [u8]),
}

impl<'b> Wire<'b> {
    /// The bytes of field `number`.
    pub fn bytes(self, number: u32) -> Result<&'b [u8], Error> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            _ => Err(Error::WireType(number)),
        }
    }
    /// The number in field `number`.
    pub fn varint(self, number: u32) -> Result<u64, Error> {
        match self {
            Self::Varint(n) => Ok(n),
            _ => Err(Error::WireType(number)),
        }
    }
}

/// Goes through the fields of a message.
pub struct Reader<'b> {
    rest: &'b [u8],
}

impl<'b> Reader<'b> {
    /// At the beginning of a message.
    pub fn new(bytes: &'b [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The next field and its number; `None` at the end.
    pub fn next(&mut self) -> Result<Option<(u32, Wire<'b>)>, Error> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let number = u32::try_from(tag >> 3).ok().filter(|n| *n != 0).ok_or(Error::Malformed)?;
        let value = match tag & 7 {
            0 => Wire::Varint(self.varint()?),
            1 => Wire::Fixed64(u64::from_le_bytes(self.array()?)),
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|_| Error::Malformed)?;
                Wire::Bytes(self.take(length)?)
            }
            5 => Wire::Fixed32(u32::from_le_bytes(self.array()?)),
            // Groups are not used.
            _ => return Err(Error::WireType(number)),
        };
        Ok(Some((number, value)))
    }

    /// A number; packed lists consist of them.
    pub fn varint(&mut self) -> Result<u64, Error> {
        let mut out = 0u64;
        for (i, byte) in self.rest.iter().enumerate().take(10) {
            out |= u64::from(byte & 0x7f) << (7 * i);
            if byte & 0x80 == 0 {
                self.rest = &self.rest[i + 1..];
                return Ok(out);
            }
        }
        Err(Error::Malformed)
    }

    /// Whether everything was read.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    fn take(&mut self, length: usize) -> Result<&'b [u8], Error> {
        let (head, rest) = self.rest.split_at_checked(length).ok_or(Error::Malformed)?;
        self.rest = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        self.take(N)?.try_into().map_err(|_| Error::Malformed)
    }
}

/// Appends a number.
pub fn push_varint(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push((n & 0x7f) as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

/// Appends a field's number and wire type.
pub fn push_tag(out: &mut Vec<u8>, number: u32, wire_type: u64) {
    push_varint(out, u64::from(number) << 3 | wire_type);
}

/// Writes a message from its end to its beginning: so every length is known when it is written.
pub struct Back {
    buffer: Vec<u8>,
    start: usize,
}

impl Back {
    /// An empty message.
    pub fn with_capacity(capacity: usize) -> Self {
        Self { buffer: vec![0; capacity], start: capacity }
    }

    /// The bytes written so far.
    pub fn len(&self) -> usize {
        self.buffer.len() - self.start
    }

    /// The message.
    pub fn finish(mut self) -> Vec<u8> {
        self.buffer.drain(..self.start);
        self.buffer
    }

    /// Puts bytes in front.
    pub fn raw(&mut self, bytes: &[u8]) {
        if self.start < bytes.len() {
            let more = (self.buffer.len() + bytes.len()).max(64);
            let mut buffer = vec![0; self.buffer.len() + more];
            buffer[self.start + more..].copy_from_slice(&self.buffer[self.start..]);
            self.buffer = buffer;
            self.start += more;
        }
        self.start -= bytes.len();
        self.buffer[self.start..self.start + bytes.len()].copy_from_slice(bytes);
    }

    fn plain(&mut self, mut n: u64) {
        let mut bytes = [0; 10];
        let mut length = 0;
        loop {
            bytes[length] = (n & 0x7f) as u8;
            n >>= 7;
            length += 1;
            if n == 0 {
                break;
            }
            bytes[length - 1] |= 0x80;
        }
        self.raw(&bytes[..length]);
    }

    fn tag(&mut self, number: u32, wire_type: u64) {
        self.plain(u64::from(number) << 3 | wire_type);
    }

    /// A field with a number.
    pub fn varint(&mut self, number: u32, n: u64) {
        self.plain(n);
        self.tag(number, 0);
    }

    /// A field with a float.
    pub fn double(&mut self, number: u32, f: f64) {
        self.raw(&f.to_le_bytes());
        self.tag(number, 1);
    }

    /// A field with bytes.
    pub fn bytes(&mut self, number: u32, bytes: &[u8]) {
        self.raw(bytes);
        self.open(number, bytes.len());
    }

    /// Begins a field whose content is `length` bytes that stand behind.
    pub fn open(&mut self, number: u32, length: usize) {
        self.plain(length as u64);
        self.tag(number, 2);
    }

    /// Makes what was written since there were `end` bytes the content of a field.
    pub fn close(&mut self, number: u32, end: usize) {
        self.open(number, self.len() - end);
    }
}
