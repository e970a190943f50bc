//! Names in conditions: signals, messages, labels of values.

use std::sync::Arc;

use super::Fault;
use super::check::{Checker, Type, fault};
use super::functions::text_of;
use super::parse::{Node, What};
use crate::engine::conditions::{Operation as O, Trigger};
use crate::engine::{Catalog, NameError, SignalId};

impl Checker<'_> {
    /// Adds an operation on the signal that `node` names.
    pub(super) fn signal(
        &mut self,
        node: &Node,
        trigger: Trigger,
        operation: fn(u16) -> O,
        is: Type,
    ) -> Result<Type, Fault> {
        let id = self.find(node)?;
        self.triggers(id, trigger);
        let place = self.signal_place(id);
        self.value(node, operation(place), is)
    }

    /// A signal whose triggers are there already.
    pub(super) fn quiet_signal(&mut self, node: &Node) -> Result<Type, Fault> {
        let id = self.find(node)?;
        let place = self.signal_place(id);
        self.value(node, O::Signal(place), Type::Double)
    }

    pub(super) fn passes(&mut self, node: &Node, limit: f64) -> Result<(), Fault> {
        let id = self.find(node)?;
        self.triggers(id, Trigger::Passes(limit));
        Ok(())
    }

    pub(super) fn triggers(&mut self, id: SignalId, trigger: Trigger) {
        if !self.program.triggers.contains(&(id, trigger)) {
            self.program.triggers.push((id, trigger));
        }
    }

    pub(super) fn signal_place(&mut self, id: SignalId) -> u16 {
        place_of(&mut self.program.signals, id)
    }

    pub(super) fn find(&self, node: &Node) -> Result<SignalId, Fault> {
        if let What::Call(function, arguments) = &node.what
            && let ("signal", [text]) = (function.as_str(), &arguments[..])
        {
            let name = text_of(text, "a signal's name, as in signal('can-a:Message.Signal')")?;
            return self.scope.catalog.find_signal(name).map_err(|error| Fault::new(text.at, error.to_string()));
        }
        let What::Name(name) = &node.what else { return fault(node, "takes a signal's name here") };
        if let Some((_, id)) = self.found.borrow().iter().find(|(known, _)| known == name) {
            return Ok(*id);
        }
        let catalog = self.scope.catalog;
        let id =
            find(catalog, name, |name| catalog.find_signal(name)).map_err(|message| Fault::new(node.at, message))?;
        self.found.borrow_mut().push((name.clone(), id));
        Ok(id)
    }

    pub(super) fn labels(&self, id: SignalId) -> Vec<(f64, Arc<str>)> {
        let Some((bus, index)) = self.scope.catalog.place(id) else { return Vec::new() };
        let signal = self.scope.catalog.buses()[bus].plan.signal(index);
        #[expect(clippy::cast_precision_loss, reason = "as values are decoded")]
        let value = |raw: i64| raw as f64 * signal.factor + signal.offset;
        signal.labels.iter().map(|(raw, label)| (value(*raw), label.as_ref().into())).collect()
    }

    pub(super) fn values_of(&self, id: SignalId, wanted: &str) -> Vec<f64> {
        self.labels(id).into_iter().filter(|(_, label)| **label == *wanted).map(|(value, _)| value).collect()
    }

    pub(super) fn no_label(&self, id: SignalId, wanted: &str) -> String {
        let labels = self.labels(id);
        let name = self.scope.catalog.signal(id).name;
        if labels.is_empty() {
            return format!("'{wanted}': the DBC file has no labels for {name}: compare it with a number");
        }
        let some: Vec<String> = labels.iter().take(12).map(|(_, label)| format!("'{label}'")).collect();
        let more = if labels.len() > some.len() { ", …" } else { "" };
        format!("'{wanted}' is no label of {name}; there are {}{more}", some.join(", "))
    }
}

/// A name with points: the first part may be a bus.
pub(super) fn find<T>(catalog: &Catalog, name: &str, look: impl Fn(&str) -> Result<T, NameError>) -> Result<T, String> {
    let points = |text: String| text.replace(':', ".");
    // What begins with a bus is of that bus, unless a message is called as the bus is and has it.
    let mut error = None;
    if let Some((bus, rest)) = name.split_once('.')
        && catalog.buses().iter().any(|other| *other.name == *bus)
    {
        match look(&format!("{bus}:{rest}")) {
            Ok(found) => return Ok(found),
            Err(of_bus) => error = Some(of_bus),
        }
    }
    let error = match look(name) {
        Ok(found) => return Ok(found),
        Err(plain) => error.unwrap_or(plain),
    };
    Err(match error {
        NameError::Unknown { what, similar, .. } => {
            let similar = similar.into_iter().map(points).collect();
            NameError::Unknown { what, name: name.into(), similar }.to_string()
        }
        NameError::Ambiguous { candidates, .. } => {
            let candidates = candidates.into_iter().map(points).collect();
            NameError::Ambiguous { name: name.into(), candidates }.to_string()
        }
    })
}

pub(super) fn place_of<T: PartialEq>(all: &mut Vec<T>, wanted: T) -> u16 {
    let place = all.iter().position(|one| *one == wanted).unwrap_or_else(|| {
        all.push(wanted);
        all.len() - 1
    });
    // There are no more than operations.
    u16::try_from(place).unwrap_or(u16::MAX)
}
