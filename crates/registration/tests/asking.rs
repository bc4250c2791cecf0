//! A provider that answers late, wrongly or not at all keeps nobody waiting. In virtual time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use model::CpmAddress;
use parking_lot::Mutex;
use registration::{Known, Options, Provider, ProviderError, RegistrationSet, Registrations};
use tokio::time::Instant;

#[derive(Clone, Copy)]
enum Mood {
    Answers,
    Fails,
    Hangs,
}

struct Moody {
    mood: Mutex<Mood>,
    asked: AtomicU32,
}

fn address(text: &str) -> CpmAddress {
    CpmAddress::parse(text).expect("an address")
}

#[async_trait]
impl Provider for Moody {
    async fn ask(&self, of: &CpmAddress, _: &[CpmAddress]) -> Result<RegistrationSet, ProviderError> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let mood = *self.mood.lock();
        match mood {
            Mood::Answers => Ok(RegistrationSet::new(of.clone(), [address("+2")])),
            Mood::Fails => Err(ProviderError::new("the core is away")),
            Mood::Hangs => std::future::pending().await,
        }
    }
}

fn moody(mood: Mood) -> (Arc<Moody>, Registrations) {
    let provider = Arc::new(Moody { mood: Mutex::new(mood), asked: AtomicU32::new(0) });
    let options = Options { remembered: Duration::from_secs(60), ..Options::default() };
    (provider.clone(), Registrations::new(provider, options))
}

#[tokio::test(start_paused = true)]
async fn what_the_operator_linked() {
    let sets = Registrations::default();
    let known = sets.ask(&address("+1"), &[address("+2")]).await;
    assert_eq!(known, Known { set: RegistrationSet::new(address("+1"), [address("+2")]), current: true });
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_hangs_is_waited_for_five_seconds() {
    let (_, sets) = moody(Mood::Hangs);
    let began = Instant::now();
    let known = sets.ask(&address("+1"), &[]).await;
    assert_eq!(known, Known { set: RegistrationSet::alone(address("+1")), current: false });
    assert_eq!(began.elapsed().as_secs(), 5);
}

#[tokio::test(start_paused = true)]
async fn it_is_asked_again_in_the_background_and_then_the_set_is_remembered() {
    let (provider, sets) = moody(Mood::Fails);
    assert!(!sets.ask(&address("+1"), &[]).await.set.has_others());
    *provider.mood.lock() = Mood::Answers;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(provider.asked.load(Ordering::Relaxed), 2);
    // The provider fails again, and what it said meanwhile holds.
    *provider.mood.lock() = Mood::Fails;
    let known = sets.ask(&address("+1"), &[]).await;
    assert!(known.set.has_others() && !known.current);
    // Not of another address.
    assert!(!sets.ask(&address("+3"), &[]).await.set.has_others());
}

#[tokio::test(start_paused = true)]
async fn one_who_asks_often_makes_no_crowd_in_the_background() {
    let (provider, sets) = moody(Mood::Fails);
    for _ in 0..50 {
        sets.ask(&address("+1"), &[]).await;
    }
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert_eq!(provider.asked.load(Ordering::Relaxed), 50 + registration::limits::RETRY_ATTEMPTS_MAX);
}
