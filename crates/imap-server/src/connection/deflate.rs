//! COMPRESS=DEFLATE (RFC 4978): raw DEFLATE in both directions, with a bounded step each.
//!
//! Neither direction can be made to hold more than its window and one step: what is received is inflated only as
//! fast as commands are read, so that a small input that inflates to a huge one costs time, not memory.

use std::io;

use bytes::BytesMut;
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

/// Octets made in one step, of either direction.
const STEP_BYTES: usize = 16 * 1024;

pub(crate) struct Deflate {
    inflater: Decompress,
    /// Compressed octets not yet inflated.
    received: BytesMut,
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
    pub fn inflate(&mut self, buffer: &mut BytesMut) -> io::Result<usize> {
        let mut made = Vec::with_capacity(if self.received.is_empty() { 64 } else { STEP_BYTES });
        loop {
            let before = self.inflater.total_in();
            let status = self
                .inflater
                .decompress_vec(&self.received, &mut made, FlushDecompress::Sync)
                .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "not a DEFLATE stream"))?;
            let taken = (self.inflater.total_in() - before) as usize;
            bytes::Buf::advance(&mut self.received, taken);
            if !made.is_empty() || taken == 0 || status == Status::StreamEnd {
                break;
            }
        }
        if self.received.is_empty() {
            // Gives the memory back while the client is silent.
            self.received = BytesMut::new();
        }
        buffer.extend_from_slice(&made);
        Ok(made.len())
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
}
