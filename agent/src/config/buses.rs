//! `[[bus]]`, and DBC files that are named elsewhere.

use std::path::Path;

use can_decoders::{Database, Plan};
use toml::Spanned;

use super::{ConfigError, Reader, raw, validity};
use crate::engine::{ANY_BUS, Bus, Catalog};
use crate::source::socketcan::Listen;

/// The buses that DBC files describe, each given as `FILE` for all buses that have none of their own, or as `BUS=FILE`;
/// what is odd in them goes to `warnings`.
///
/// # Errors
/// What is wrong with a file: file, line and remedy.
pub fn load_catalog(dbc: &[String], warnings: &mut Vec<String>) -> Result<Catalog, can_decoders::DbcError> {
    let mut buses = Vec::new();
    for (name, databases) in load_databases(dbc)? {
        let plan = Plan::compile(&databases);
        warn(&plan, warnings);
        buses.push(Bus::new(name, plan));
    }
    Ok(Catalog::new(buses))
}

/// The DBC files of each bus, given as for [`load_catalog`].
///
/// # Errors
/// What is wrong with a file: file, line and remedy.
pub fn load_databases(dbc: &[String]) -> Result<Vec<(String, Vec<Database>)>, can_decoders::DbcError> {
    let mut groups: Vec<(String, Vec<Database>)> = Vec::new();
    for arg in dbc {
        let (bus, file) = match arg.split_once('=') {
            // A path may have an equals sign in it; an interface's name has no slash.
            Some((bus, file)) if !bus.contains('/') && !Path::new(arg).exists() => (bus, file),
            _ => (ANY_BUS, arg.as_str()),
        };
        let database = Database::load(Path::new(file))?;
        match groups.iter_mut().find(|(name, _)| name == bus) {
            Some((_, databases)) => databases.push(database),
            None => groups.push((bus.into(), vec![database])),
        }
    }
    Ok(groups)
}

fn warn(plan: &Plan, warnings: &mut Vec<String>) {
    warnings.extend(plan.warnings().iter().map(ToString::to_string));
}

pub(super) fn buses(reader: &Reader, raw: &[raw::Bus], warnings: &mut Vec<String>) -> Result<Catalog, ConfigError> {
    let mut buses: Vec<Bus> = Vec::new();
    for entry in raw {
        let name = entry.name.get_ref();
        // 15 characters is what a Linux interface's name may have.
        if name.is_empty() || name.len() > 15 || name.contains([':', '/', ' ']) {
            return Err(reader
                .error(&entry.name, format!("bus.name = \"{name}\": use the interface's name, 1 to 15 characters")));
        }
        if buses.iter().any(|bus| &*bus.name == name.as_str()) {
            return Err(
                reader.error(&entry.name, format!("bus.name = \"{name}\" is there twice: list all DBC files in one"))
            );
        }
        if buses.len() == 128 {
            return Err(reader.error(&entry.name, "more than 128 buses"));
        }
        let load = |dbc: &Spanned<String>| {
            Database::load(&reader.resolve(dbc.get_ref()))
                .map_err(|error| reader.error(dbc, format!("bus.dbc: {error}")))
        };
        let databases = entry.dbc.iter().map(load).collect::<Result<Vec<_>, _>>()?;
        let rate = |key: &str, rate: &Option<Spanned<u32>>| {
            rate.as_ref().map(|rate| reader.in_range(key, rate, 1_000..=20_000_000)).transpose()
        };
        let rules = validity::rules(reader, &entry.validity)?;
        let plan = Plan::compile_with(&databases, &rules).map_err(|error| {
            let place = entry.validity.place(&error).unwrap_or(&entry.name);
            reader.error(place, format!("bus.validity of {name}: {error}"))
        })?;
        warn(&plan, warnings);
        buses.push(Bus {
            bitrate: rate("bus.bitrate", &entry.bitrate)?,
            data_bitrate: rate("bus.data_bitrate", &entry.data_bitrate)?,
            ..Bus::new(name.as_str(), plan)
        });
    }
    Ok(Catalog::new(buses))
}

pub(super) fn listen(reader: &Reader, raw: &raw::Bus) -> Result<Listen, ConfigError> {
    if raw.only_known && raw.forward_xl {
        let text =
            "`only_known` and `forward_xl` exclude each other: the kernel's filters know no CAN XL; leave one out";
        return Err(reader.error(&raw.name, text));
    }
    let kib = reader.in_range("bus.receive_buffer_kib", &raw.receive_buffer_kib, 4..=64 << 10)?;
    Ok(Listen {
        allow_acknowledge: raw.allow_acknowledge,
        only_known: raw.only_known,
        receive_buffer: kib as usize * 1024,
        forward_xl: raw.forward_xl,
        hasty: false,
    })
}
