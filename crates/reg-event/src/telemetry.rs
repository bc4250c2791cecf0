//! What listening to the core tells of itself.

use metrics::{counter, describe_counter, describe_gauge, gauge};

pub(crate) fn describe() {
    describe_gauge!("mss_reg_event_subscriptions", "Addresses whose registration is listened to.");
    describe_counter!(
        "mss_reg_event_notifies_total",
        "NOTIFY requests of the SIP/IP core, by what they were answered."
    );
    describe_counter!("mss_reg_event_lost_total", "Subscriptions that ended otherwise than by our will.");
    gauge!("mss_reg_event_subscriptions").set(0.0);
    counter!("mss_reg_event_lost_total").increment(0);
}

pub(crate) fn subscriptions(count: usize) {
    gauge!("mss_reg_event_subscriptions").set(count as f64);
}

pub(crate) fn notified(code: u16) {
    let result = if code < 300 { "ok" } else { "refused" };
    counter!("mss_reg_event_notifies_total", "result" => result).increment(1);
}

pub(crate) fn lost() {
    counter!("mss_reg_event_lost_total").increment(1);
}
