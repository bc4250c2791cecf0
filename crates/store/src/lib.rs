//! The message store: accounts, folders, messages and bodies as keys and transactions.
