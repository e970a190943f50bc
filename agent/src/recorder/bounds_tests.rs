use super::*;

#[test]
fn what_makes_room_is_told_and_the_important_stays() {
    let dir = tempfile::tempdir().unwrap();
    let mut settings = settings();
    settings.bounds.quota_bytes = 80_000;
    settings.bounds.upload = false;
    let mut fed = Fed::new(dir.path(), settings);
    fed.drive(1000);
    for (n, class) in [Class::Critical, Class::Alert, Class::Alert, Class::Status, Class::Alert].into_iter().enumerate()
    {
        fed.trigger(&format!("n{n}"), class, 1, 2);
        fed.drive(16_000);
    }
    let quiet = |events: &[Recording]| -> Vec<(RecordingState, String)> {
        events.iter().map(|event| (event.state, event.triggers[0].to_string())).collect()
    };
    let listed = || -> Vec<String> {
        list(dir.path()).unwrap().iter().map(|one| one.about.as_ref().unwrap().triggers[0].to_string()).collect()
    };
    let bytes: u64 = list(dir.path()).unwrap().iter().map(|one| one.about.as_ref().unwrap().bytes).sum();
    assert!(bytes <= 80_000, "{bytes}");
    let (events, _) = fed.finish();
    let evicted: Vec<String> = quiet(&events)
        .into_iter()
        .filter(|(state, _)| *state == RecordingState::Evicted)
        .map(|(_, name)| name)
        .collect();
    assert!(!evicted.is_empty(), "{:?}", quiet(&events));
    assert!(listed().contains(&"n0".to_owned()), "the critical one stays: {:?}", listed());
    assert!(evicted[0] == "n3" || evicted[0] == "n1", "the least important first, then the earliest: {evicted:?}");
}

#[test]
fn a_day_has_its_bytes_and_class_critical_more() {
    let dir = tempfile::tempdir().unwrap();
    let mut settings = settings();
    settings.bounds.write_per_day = 40_000;
    let mut fed = Fed::new(dir.path(), settings);
    fed.drive(10_000);
    fed.trigger("big", Class::Alert, 9, 0);
    let refused = fed.wait(RecordingState::Refused);
    assert_eq!(refused.reason.as_deref(), Some("recorder.write_mib_per_day is used up"));
    fed.trigger("crash", Class::Critical, 9, 0);
    fed.wait(RecordingState::Started);
}

/// What was written before a restart counts, as far as it is still there.
#[test]
fn a_day_goes_on_over_restarts() {
    let dir = tempfile::tempdir().unwrap();
    let record = |write_per_day: u64| {
        let mut settings = settings();
        settings.bounds.write_per_day = write_per_day;
        let mut fed = Fed::new(dir.path(), settings);
        fed.drive(6_000);
        fed.trigger("spin", Class::Alert, 5, 0);
        let (events, _) = fed.finish();
        (events[0].state, events[0].reason.clone(), events.last().unwrap().bytes)
    };
    let (state, _, bytes) = record(1 << 30);
    assert!(state == RecordingState::Started && bytes > 10_000, "{state:?} {bytes}");
    let (state, reason, _) = record(bytes + bytes / 2);
    let reason = reason.unwrap();
    assert!(state == RecordingState::Refused && reason == "recorder.write_mib_per_day is used up", "{reason}");
    assert_eq!(record(bytes * 3).0, RecordingState::Started);
    // What is of another day, be it a later one, is not of this.
    for about in list(dir.path()).unwrap().into_iter().map(|one| one.about.unwrap()) {
        let other = About { to: about.to + 86_400 * SECOND, ..about };
        std::fs::write(dir.path().join(format!("{}.json", other.id)), serde_json::to_vec(&other).unwrap()).unwrap();
    }
    assert_eq!(record(bytes + bytes / 2).0, RecordingState::Started);
}

/// A card that is not there yet: what happens meanwhile is refused, and told; what happens once it is there is recorded.
#[test]
fn a_directory_that_cannot_be_used_is_tried_again() {
    let dir = tempfile::tempdir().unwrap();
    let card = dir.path().join("card");
    std::fs::write(&card, "").unwrap();
    let mut fed = Fed::new(&card.join("recordings"), settings());
    assert!(fed.recorder.is_closed());
    fed.drive(3_000);
    fed.trigger("early", Class::Critical, 2, 1);
    let refused = fed.wait(RecordingState::Refused);
    let reason = refused.reason.unwrap();
    assert!(reason.contains("card/recordings: Not a directory") && &*refused.triggers[0] == "early", "{reason}");
    std::fs::remove_file(&card).unwrap();
    fed.trigger("late", Class::Critical, 2, 1);
    let started = fed.wait(RecordingState::Started);
    assert!(!fed.recorder.is_closed());
    let at = fed.now_ns;
    fed.drive(2_000);
    fed.wait(RecordingState::Finished);
    assert_window(&frames(&fed.file(&started)), &fed.frames, at - 2 * SECOND, at + SECOND);

    // It is pulled, and put back empty.
    fed.drive(20_000);
    std::fs::remove_dir_all(&card).unwrap();
    std::fs::write(&card, "").unwrap();
    fed.trigger("pulled", Class::Critical, 2, 1);
    assert_eq!(&*fed.wait(RecordingState::Refused).triggers[0], "pulled");
    assert!(fed.recorder.is_closed());
    std::fs::remove_file(&card).unwrap();
    fed.trigger("back", Class::Critical, 2, 1);
    let started = fed.wait(RecordingState::Started);
    assert!(!fed.recorder.is_closed());
    let at = fed.now_ns;
    fed.drive(2_000);
    let file = fed.file(&started);
    let (_, all) = fed.finish();
    assert_window(&frames(&file), &all, at - 2 * SECOND, at + SECOND);
    assert_eq!(list(&card.join("recordings")).unwrap().len(), 1);
}

/// Two agents with one directory: a mistake in the configuration, and none that time mends.
#[test]
fn a_directory_that_another_has_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let _first = Fed::new(dir.path(), settings());
    let config = RecorderConfig { dir: dir.path().into(), memory_bytes: 1 << 20, bounds: settings().bounds };
    let identity = Identity { vehicle: "v1".into(), boot: "b".into() };
    let second = Recorder::start(&config, settings(), identity, None, false);
    assert!(second.unwrap_err().to_string().contains("in use by another process"));
}
