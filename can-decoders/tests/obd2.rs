//! The OBD-II database that comes with the crate.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a panic is a test's report, and so is its output")]

use can_decoders::{CanId, Database, Plan, Validity};

fn plan() -> Plan {
    let database = Database::parse("obd2.dbc", include_bytes!("../dbc/obd2.dbc")).unwrap();
    assert!(database.warnings().is_empty(), "{:?}", database.warnings());
    Plan::compile(&[database])
}

/// Names, values and units of what a frame of 0x7E8 says.
fn decode(plan: &Plan, payload: &[u8]) -> Vec<(String, f64, String)> {
    let message = plan.find(CanId::standard(0x7E8).unwrap()).unwrap();
    let samples = plan.decode(message, payload).signals().inspect(|s| assert_eq!(s.validity, Validity::Valid));
    let named = samples.map(|s| (plan.signal(s.signal), s.value));
    named.map(|(signal, value)| (signal.name.to_string(), value, signal.unit.to_string())).collect()
}

#[test]
fn every_parameter_by_hand() {
    let plan = plan();
    let cases: [(&[u8], &str, f64, &str); 12] = [
        (&[0x03, 0x41, 0x04, 0x80, 0, 0, 0, 0], "EngineLoad", 128.0 * 100.0 / 255.0, "%"),
        (&[0x03, 0x41, 0x05, 0x7B, 0, 0, 0, 0], "CoolantTemperature", 83.0, "°C"),
        (&[0x03, 0x41, 0x05, 0x00, 0, 0, 0, 0], "CoolantTemperature", -40.0, "°C"),
        (&[0x03, 0x41, 0x0B, 0x63, 0, 0, 0, 0], "IntakeManifoldPressure", 99.0, "kPa"),
        (&[0x04, 0x41, 0x0C, 0x13, 0xCA, 0, 0, 0], "EngineSpeed", 1266.5, "rpm"),
        (&[0x03, 0x41, 0x0D, 0x5A, 0, 0, 0, 0], "VehicleSpeed", 90.0, "km/h"),
        (&[0x03, 0x41, 0x11, 0x2E, 0, 0, 0, 0], "ThrottlePosition", 46.0 * 100.0 / 255.0, "%"),
        (&[0x03, 0x41, 0x2F, 0x8C, 0, 0, 0, 0], "FuelTankLevel", 140.0 * 100.0 / 255.0, "%"),
        (&[0x03, 0x41, 0x33, 0x64, 0, 0, 0, 0], "BarometricPressure", 100.0, "kPa"),
        (&[0x04, 0x41, 0x42, 0x2F, 0x6C, 0, 0, 0], "ControlModuleVoltage", 12.14, "V"),
        (&[0x03, 0x41, 0x62, 0x7D, 0, 0, 0, 0], "ActualEngineTorque", 0.0, "%"),
        (&[0x03, 0x41, 0x62, 0xA5, 0, 0, 0, 0], "ActualEngineTorque", 40.0, "%"),
    ];
    for (payload, name, value, unit) in cases {
        let found = decode(&plan, payload);
        assert_eq!(found.len(), 5, "{name}: the header's four signals and one value, not {found:?}");
        let last = found.last().unwrap();
        assert_eq!((last.0.as_str(), last.2.as_str()), (name, unit));
        assert!((last.1 - value).abs() < 1e-12, "{name}: {} instead of {value}", last.1);
    }
}

#[test]
fn what_is_not_an_answer_of_service_01_has_no_values() {
    let plan = plan();
    let names = |payload: &[u8]| decode(&plan, payload).into_iter().map(|s| s.0).collect::<Vec<_>>();
    // A refusal, the vehicle's number (service 09) as first and consecutive frame, an unknown parameter.
    assert_eq!(names(&[0x03, 0x7F, 0x01, 0x12, 0, 0, 0, 0]), ["FrameLength", "FrameType", "Service"]);
    assert_eq!(names(&[0x10, 0x14, 0x49, 0x02, 0x01, 0x31, 0x46, 0x54]), ["FrameLength", "FrameType"]);
    assert_eq!(names(&[0x21, 0x41, 0x0C, 0x13, 0xCA, 0x31, 0x46, 0x54]), ["FrameLength", "FrameType"]);
    let header = ["FrameLength", "FrameType", "Service", "ParameterId"];
    assert_eq!(names(&[0x03, 0x41, 0x06, 0x80, 0, 0, 0, 0]), header);
}

#[test]
fn unpadded_answers_decode() {
    let plan = plan();
    assert_eq!(decode(&plan, &[0x04, 0x41, 0x0C, 0x13, 0xCA]).last().unwrap().1, 1266.5);
}
