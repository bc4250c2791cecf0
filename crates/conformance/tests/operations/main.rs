//! What an operator relies on: settings that do something or are refused, signals, limits of the system, logs that can be
//! followed and hold no secrets, ports that stand what the network sends.

mod convert;
mod logs;
mod node;
mod ports;
mod settings;
mod signals;
mod startup;
