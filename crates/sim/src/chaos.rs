//! What goes wrong, and when.

use std::sync::Arc;
use std::time::Duration;

use kv::fault::Faults;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::net::{FRONT_ENDS, NODES, Net, Weather, calm};
use crate::plan::Trouble;
use crate::world::World;

/// Longest time between two troubles, milliseconds.
const PAUSE_MS_MAX: u64 = 1_000;
/// Farthest that a clock jumps, seconds: longer than anything is kept for.
const JUMP_SECONDS_MAX: i64 = 120 * 86_400;

/// Makes trouble until it is ended.
pub async fn make(world: Arc<World>) {
    let mut chance = SmallRng::seed_from_u64(world.plan.seed ^ 0x0063_6861);
    let all = [
        Trouble::Engine,
        Trouble::Watches,
        Trouble::Nodes,
        Trouble::FrontEnds,
        Trouble::Links,
        Trouble::Members,
        Trouble::Clocks,
    ];
    let net = &world.net;
    let mut faults = calm();
    loop {
        tokio::time::sleep(Duration::from_millis(chance.random_range(0..PAUSE_MS_MAX))).await;
        // Drawn whatever is left out, so that the rest stays as it is.
        let trouble = all[chance.random_range(0..all.len())];
        let (node, front_end) = (chance.random_range(0..NODES), chance.random_range(0..FRONT_ENDS));
        let (which, length) =
            (chance.random_range(0..4), Duration::from_millis(chance.random_range(0..6_000)));
        let seconds = chance.random_range(-JUMP_SECONDS_MAX..=JUMP_SECONDS_MAX);
        if !world.plan.has(trouble) {
            continue;
        }
        match trouble {
            Trouble::Engine => {
                let (watch_lost, watch_late, watch_spurious) =
                    (faults.watch_lost, faults.watch_late, faults.watch_spurious);
                faults = Faults { watch_lost, watch_late, watch_spurious, ..engine_faults(which) };
                net.set_faults(faults);
                world.trace.say(format_args!("engine"), format_args!("weather {which}"));
            }
            Trouble::Watches => {
                let some = Faults::survivable();
                let part = [0.0, 1.0, 1.0, 5.0][which];
                faults.watch_lost = some.watch_lost * part;
                faults.watch_late = some.watch_late;
                faults.watch_spurious = some.watch_spurious * part.min(2.0);
                net.set_faults(faults);
                world.trace.say(format_args!("engine"), format_args!("watches {which}"));
            }
            Trouble::Nodes => {
                if which == 0 {
                    later(net, Duration::ZERO, move |net| async move {
                        net.drain_node(node, length / 4).await;
                        net.start_node(node).await;
                    });
                } else {
                    net.kill_node(node);
                    later(net, length, move |net| async move { net.start_node(node).await });
                }
            }
            Trouble::FrontEnds if which == 0 => {
                net.kill_front_end(front_end, Duration::ZERO).await;
                tokio::time::sleep(length / 4).await;
                net.start_front_end(front_end);
            }
            Trouble::Links => {
                let weather = [Weather::Fair, Weather::Cut, Weather::Lossy(0.1), Weather::Lossy(0.5)][which];
                net.set_weather(front_end, node, weather);
                world.trace.say(format_args!("way {front_end}-{node}"), format_args!("{weather:?}"));
            }
            Trouble::Members => {
                let believed = which >= 2;
                net.set_belief(front_end, node, believed);
                world
                    .trace
                    .say(format_args!("front end {front_end}"), format_args!("believes {node}: {believed}"));
            }
            Trouble::Clocks => {
                let skew = if which == 0 { seconds } else { seconds % 100 };
                if let Some(node) = net.node(node) {
                    node.clock.jump(skew);
                }
                world.trace.say(format_args!("node {node}"), format_args!("clock off by {skew} s"));
            }
            Trouble::FrontEnds | Trouble::Connections => {}
        }
    }
}

fn engine_faults(which: usize) -> Faults {
    let storm = Faults {
        conflict: 0.2,
        unknown_committed: 0.2,
        unknown_lost: 0.2,
        commit_unavailable: 0.1,
        read_unavailable: 0.02,
        commit_slow: 0.5,
        read_slow: 0.3,
        delay_ms_max: 100,
        ..Faults::none()
    };
    match which {
        0 => calm(),
        1 | 2 => Faults { commit_slow: 0.5, read_slow: 0.3, delay_ms_max: 20, ..Faults::survivable() },
        _ => storm,
    }
}

fn later<F: Future<Output = ()> + Send>(
    net: &Arc<Net>,
    wait: Duration,
    then: impl FnOnce(Arc<Net>) -> F + Send + 'static,
) {
    let net = net.clone();
    tokio::spawn(async move {
        tokio::time::sleep(wait).await;
        then(net).await;
    });
}

/// Ends every trouble: all nodes run and are reached, and nothing fails any more.
pub async fn heal(world: &World) {
    let net = &world.net;
    world.trace.say(format_args!("all"), format_args!("heals"));
    net.set_faults(calm());
    for node in 0..NODES {
        if net.node(node).is_none() {
            net.start_node(node).await;
        }
        for front_end in 0..FRONT_ENDS {
            net.set_belief(front_end, node, true);
            if net.way(front_end, node).0 != Weather::Fair {
                net.set_weather(front_end, node, Weather::Fair);
            }
        }
    }
    for front_end in 0..FRONT_ENDS {
        if net.connect(front_end).is_none() {
            net.start_front_end(front_end);
        }
    }
}
