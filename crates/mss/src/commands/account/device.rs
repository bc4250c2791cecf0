//! `mss account device`: devices made known for notices to the PUSH enabler.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use clap::Subcommand;
use model::{AccountId, CpmAddress, DeviceId};
use store_api::PushDevice;

use crate::tier::{Tier, ctx, told};

/// What to do with the devices of an account.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// Make a device known, or change where it is reached.
    Add {
        /// CPM address: tel:+DIGITS, +DIGITS or sip:USER@HOST.
        #[arg(value_parser = CpmAddress::parse)]
        address: CpmAddress,
        /// Identity of the device, as it gives it in ID: <urn:gsma:imei:…>, a GRUU or another token
        #[arg(value_parser = identity)]
        device: DeviceId,
        /// Where the PUSH enabler reaches it [default: the account's address]
        #[arg(long, value_name = "ADDRESS", default_value = "", hide_default_value = true)]
        push_address: String,
    },
    /// Forget a device.
    Remove {
        /// CPM address: tel:+DIGITS, +DIGITS or sip:USER@HOST.
        #[arg(value_parser = CpmAddress::parse)]
        address: CpmAddress,
        /// Identity of the device
        #[arg(value_parser = identity)]
        device: DeviceId,
    },
    /// Print the devices that are known, one a line, each with where it is reached.
    List {
        /// CPM address: tel:+DIGITS, +DIGITS or sip:USER@HOST.
        #[arg(value_parser = CpmAddress::parse)]
        address: CpmAddress,
    },
}

fn identity(text: &str) -> Result<DeviceId, model::DeviceIdError> {
    DeviceId::parse(text.as_bytes())
}

/// Runs one action.
pub async fn act(tier: &Tier, action: Action) -> anyhow::Result<()> {
    match action {
        Action::Add { address, device, push_address } => {
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let added_at = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
            let device = PushDevice { device, push_address, added_at };
            let account = account(tier, &address).await?;
            tier.maintenance.set_push_device(&ctx(), account, device).await.map_err(told)
        }
        Action::Remove { address, device } => {
            let account = account(tier, &address).await?;
            let known = tier.maintenance.remove_push_device(&ctx(), account, &device).await.map_err(told)?;
            anyhow::ensure!(known, "{device} is not known as a device of {address}");
            Ok(())
        }
        Action::List { address } => {
            let account = account(tier, &address).await?;
            for known in tier.maintenance.push_devices(&ctx(), account).await.map_err(told)? {
                let reached =
                    if known.push_address.is_empty() { address.as_str() } else { &known.push_address };
                println!("{}\t{reached}", known.device);
            }
            Ok(())
        }
    }
}

async fn account(tier: &Tier, address: &CpmAddress) -> anyhow::Result<AccountId> {
    let found = tier.store.account(&ctx(), address).await.map_err(told)?;
    Ok(found.with_context(|| format!("there is no account {address}"))?.id)
}
