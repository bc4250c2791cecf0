//! A wrapper that injects faults under any engine.
