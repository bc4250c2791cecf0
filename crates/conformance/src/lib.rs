//! Transcripts and outside clients against a running server.
