//! COMPRESS=DEFLATE (RFC 4978): raw DEFLATE in both directions, with a bounded step each.
//!
//! Neither direction can be made to hold more than its window and one step: what is received is inflated only as
//! fast as commands are read, so that a small input that inflates to a huge one costs time, not memory.
//!
//! UNAUTHENTICATE ends both streams in the middle of a connection (RFC 8437 §4.1), and what follows may have arrived
//! with the last compressed octets. So the inflater is never fed past the end of a flush, which the octets
//! `00 00 FF FF` mark (RFC 1951 §3.2.4, an empty stored block): what stands behind is handed back untouched. The same
//! octets inside of compressed data only make a step shorter.

use std::io;

use bytes::BytesMut;
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

/// Octets made in one step, of either direction.
const STEP_BYTES: usize = 16 * 1024;
/// What the last four octets of a flush are.
const FLUSH_END: [u8; 4] = [0, 0, 0xff, 0xff];

pub(crate) struct Deflate {
    inflater: Decompress,
    /// Compressed octets not yet inflated.
    received: BytesMut,
    /// The last octets that were inflated.
    tail: [u8; 4],
    /// The client's stream had its final block.
    ended: bool,
    compressor: Compress,
    /// The last step's output.
    step: Vec<u8>,
    /// Something was compressed since the last flush ended.
    unflushed: bool,
}

impl Deflate {
    /// `received`: compressed octets that came already.
    pub fn new(received: &[u8]) -> Self {
        Self {
            inflater: Decompress::new(false),
            received: BytesMut::from(received),
            tail: [1; 4],
            ended: false,
            compressor: Compress::new(Compression::fast(), false),
            step: Vec::new(),
            unflushed: false,
        }
    }

    /// Where to append what arrives.
    pub fn received(&mut self) -> &mut BytesMut {
        &mut self.received
    }

    /// Appends at most one step of inflated octets to `buffer`; 0 when more must arrive first.
    ///
    /// # Errors
    /// For what is no DEFLATE stream, and for octets behind the end of one: they would never become a command.
    pub fn inflate(&mut self, buffer: &mut BytesMut) -> io::Result<usize> {
        let mut made = Vec::with_capacity(if self.received.is_empty() { 64 } else { STEP_BYTES });
        while self.inflate_once(&mut made)? > 0 && made.is_empty() {}
        if self.received.is_empty() {
            // Gives the memory back while the client is silent.
            self.received = BytesMut::new();
        }
        buffer.extend_from_slice(&made);
        Ok(made.len())
    }

    /// Inflates to the end of the flush that the last command stood in: false when more must arrive first.
    ///
    /// # Errors
    /// As [`Deflate::inflate`], and when another command stands in it.
    pub fn end_flush(&mut self) -> io::Result<bool> {
        let mut made = Vec::with_capacity(64);
        while !self.is_at_flush() {
            if self.inflate_once(&mut made)? == 0 {
                return Ok(false);
            }
            if !made.is_empty() {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "the DEFLATE stream goes on"));
            }
        }
        Ok(true)
    }

    /// Inflates at most to the end of a flush: how many octets were taken.
    fn inflate_once(&mut self, made: &mut Vec<u8>) -> io::Result<usize> {
        if self.ended && !self.received.is_empty() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "octets follow the DEFLATE stream"));
        }
        let before = self.inflater.total_in();
        let status = self
            .inflater
            .decompress_vec(&self.received[..self.upto_flush()], made, FlushDecompress::Sync)
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "not a DEFLATE stream"))?;
        let taken = (self.inflater.total_in() - before) as usize;
        self.ended |= status == Status::StreamEnd;
        let taken_octets = self.received.split_to(taken);
        for octet in &taken_octets[taken.saturating_sub(FLUSH_END.len())..] {
            self.tail.rotate_left(1);
            self.tail[3] = *octet;
        }
        Ok(taken)
    }

    /// Whether all that was inflated ends with a flush, so that what was not may be something else.
    fn is_at_flush(&self) -> bool {
        self.ended || self.tail == FLUSH_END
    }

    /// How much of what was received goes up to the end of a flush; all of it when none is in sight.
    fn upto_flush(&self) -> usize {
        // The mark may have begun in what was inflated before.
        for new in 1..FLUSH_END.len().min(self.received.len() + 1) {
            if self.tail[new..] == FLUSH_END[..4 - new] && self.received[..new] == FLUSH_END[4 - new..] {
                return new;
            }
        }
        memchr::memmem::find(&self.received, &FLUSH_END)
            .map_or(self.received.len(), |at| at + FLUSH_END.len())
    }

    /// Compresses some of `input`: how much was taken, and what it became so far, which may be nothing.
    pub fn compress(&mut self, input: &[u8]) -> io::Result<(usize, &[u8])> {
        self.unflushed = true;
        self.step(input, FlushCompress::None)
    }

    /// What must be sent so that the client can read all that was compressed; call until there is nothing.
    pub fn finish_flush(&mut self) -> io::Result<Option<&[u8]>> {
        if !self.unflushed {
            self.step = Vec::new();
            return Ok(None);
        }
        self.step(&[], FlushCompress::Sync)?;
        // A step that was not filled has ended the flush.
        self.unflushed = self.step.len() == STEP_BYTES;
        Ok(Some(&self.step))
    }

    fn step(&mut self, input: &[u8], flush: FlushCompress) -> io::Result<(usize, &[u8])> {
        self.step.clear();
        self.step.reserve_exact(STEP_BYTES);
        let before = self.compressor.total_in();
        self.compressor
            .compress_vec(input, &mut self.step, flush)
            .map_err(|error| io::Error::other(format!("DEFLATE failed: {error}")))?;
        Ok(((self.compressor.total_in() - before) as usize, &self.step))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compress(deflate: &mut Deflate, input: &[u8]) -> Vec<u8> {
        let (mut out, mut rest) = (Vec::new(), input);
        while !rest.is_empty() {
            let (taken, made) = deflate.compress(rest).expect("compresses");
            out.extend_from_slice(made);
            rest = &rest[taken..];
        }
        while let Some(made) = deflate.finish_flush().expect("flushes") {
            out.extend_from_slice(made);
        }
        out
    }

    #[test]
    fn what_is_flushed_can_be_read_whole() {
        let (mut here, mut there) = (Deflate::new(b""), Deflate::new(b""));
        let noise: Vec<u8> = (0..200_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        for message in [b"* OK\r\n".as_slice(), &noise, b"a", &vec![b'x'; 300_000]] {
            let wire = compress(&mut here, message);
            let mut read = BytesMut::new();
            // Octet by octet for the short ones: any cut is possible.
            for part in wire.chunks(if wire.len() < 1000 { 1 } else { 1000 }) {
                there.received().extend_from_slice(part);
                while there.inflate(&mut read).expect("inflates") > 0 {}
            }
            assert!(read == message, "{} octets of {}", read.len(), message.len());
        }
    }

    #[test]
    fn a_step_is_bounded_and_noise_is_refused() {
        let (mut here, mut there) = (Deflate::new(b""), Deflate::new(b""));
        let bomb = compress(&mut here, &vec![0; 10_000_000]);
        there.received().extend_from_slice(&bomb);
        let mut read = BytesMut::new();
        assert!(there.inflate(&mut read).expect("inflates") <= STEP_BYTES);
        let mut other = Deflate::new(b"\xff\xff\xff\xff");
        assert!(other.inflate(&mut read).is_err());
    }

    /// What a client sends after its stream has ended must not pile up.
    #[test]
    fn nothing_follows_the_end_of_a_stream() {
        let mut stream = Vec::with_capacity(100);
        let mut compressor = Compress::new(Compression::fast(), false);
        compressor.compress_vec(b"a NOOP\r\n", &mut stream, FlushCompress::Finish).expect("compresses");
        let mut there = Deflate::new(&stream);
        let mut read = BytesMut::new();
        assert_eq!(there.inflate(&mut read).expect("inflates"), 8);
        assert!(there.is_at_flush());
        assert_eq!(there.inflate(&mut read).expect("nothing more"), 0);
        there.received().extend_from_slice(b"x");
        assert!(there.inflate(&mut read).is_err());
    }

    /// Source: RFC 8437 §4.1.
    #[test]
    fn what_follows_a_flush_is_left_alone() {
        let mut here = Deflate::new(b"");
        let wire = compress(&mut here, b"a UNAUTHENTICATE\r\n");
        let all = [&wire[..], b"b AUTHENTICATE PLAIN\r\n"].concat();
        for size in [1, 2, 3, 5, 1000] {
            let mut there = Deflate::new(b"");
            let mut read = BytesMut::new();
            let mut parts = all.chunks(size);
            while !read.ends_with(b"\r\n") {
                there.received().extend_from_slice(parts.next().expect("the line comes"));
                there.inflate(&mut read).expect("inflates");
            }
            while !there.end_flush().expect("the flush ends") {
                there.received().extend_from_slice(parts.next().expect("the flush comes"));
            }
            assert_eq!(&read[..], b"a UNAUTHENTICATE\r\n", "{size}");
            let rest = [&there.received()[..], &parts.collect::<Vec<_>>().concat()].concat();
            assert_eq!(rest, b"b AUTHENTICATE PLAIN\r\n", "{size}");
        }
    }
}
