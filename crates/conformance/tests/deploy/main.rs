//! What stands in `deploy/` fits together and fits the binary: its flags and settings, its ports, its figures.

mod alerts;
mod commands;
mod figures;
mod files;
mod kubernetes;
