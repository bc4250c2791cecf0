//! The storage tier over gRPC: server and client of proto/store/v1 and proto/feed/v1.
