//! IMAP sessions over the store's client trait.
