//! Which part of the vehicle's state each signal shows, and how well its sensor measures it.
//!
//! Layout, scaling and ranges are in the DBC files; counters, checksums and the multiplexor are made by the bus.

use Noise::{Additive, Moving, None};

use super::battery::BELT;
use super::powertrain::Lockup;
use super::vehicle::Vehicle;

/// km/h in 1 m/s.
const KMH: f64 = 3.6;
/// Degrees in a radian.
const DEGREES: f64 = 57.295_779_513_082_32;

/// Error of a sensor.
#[derive(Debug, Clone, Copy)]
pub(super) enum Noise {
    /// A computed value or a switch.
    None,
    /// Standard deviation in the signal's unit.
    Additive(f64),
    /// The same, but nothing while the value is 0: a wheel at rest gives no pulses.
    Moving(f64),
}

/// A signal and its source.
#[derive(Debug)]
pub(super) struct Binding {
    pub(super) message: &'static str,
    pub(super) signal: &'static str,
    pub(super) noise: Noise,
    /// Value in the signal's unit.
    pub(super) read: fn(&Vehicle) -> f64,
    /// The value of the multiplexor with which it is sent.
    pub(super) group: Option<u8>,
}

const fn bind(message: &'static str, signal: &'static str, noise: Noise, read: fn(&Vehicle) -> f64) -> Binding {
    Binding { message, signal, noise, read, group: Option::None }
}

const fn cell(group: u8, signal: &'static str, read: fn(&Vehicle) -> f64) -> Binding {
    Binding { message: "CellVoltages", signal, noise: Additive(0.001), read, group: Some(group) }
}

fn flag(on: bool) -> f64 {
    f64::from(u8::from(on))
}

fn count(n: usize) -> f64 {
    f64::from(u32::try_from(n).unwrap_or(u32::MAX))
}

fn lockup(state: Lockup) -> f64 {
    match state {
        Lockup::Open => 0.0,
        Lockup::Slipping => 1.0,
        Lockup::Locked => 2.0,
    }
}

fn low(values: &[f64]) -> f64 {
    values.iter().fold(f64::MAX, |a, &b| a.min(b))
}

fn high(values: &[f64]) -> f64 {
    values.iter().fold(f64::MIN, |a, &b| a.max(b))
}

/// All of them; messages in one piece each.
#[rustfmt::skip]
pub(super) static SIGNALS: &[Binding] = &[
    bind("EngineData1", "EngineSpeed", Additive(3.0), |v| v.powertrain.speed),
    bind("EngineData1", "EngineTorque", Additive(0.8), |v| v.powertrain.torque),
    bind("EngineData1", "ThrottleAngle", Additive(0.15), |v| 100.0 * v.powertrain.throttle),
    bind("EngineData2", "EngineTorqueDemand", None, |v| v.powertrain.torque_demand),
    bind("EngineData2", "EngineFriction", None, |v| v.powertrain.friction),
    bind("EngineData2", "EngineLoad", Additive(0.3), |v| 100.0 * v.powertrain.load),
    bind("EngineData2", "IgnitionAngle", Additive(0.2), |v| v.powertrain.ignition),
    bind("DriverDemand", "AcceleratorPedal", Moving(0.1), |v| 100.0 * v.driver.accelerator),
    bind("DriverDemand", "BrakeSwitch", None, |v| flag(v.driver.brake > 0.01)),
    bind("DriverDemand", "KickDown", None, |v| flag(v.driver.accelerator > 0.95)),
    bind("TransmissionData1", "TurbineSpeed", Moving(1.5), |v| v.powertrain.turbine),
    bind("TransmissionData1", "OutputShaftSpeed", Moving(1.0), |v| v.powertrain.output),
    bind("TransmissionData1", "ActualGear", None, |v| count(v.powertrain.gear)),
    bind("TransmissionData1", "TargetGear", None, |v| count(v.powertrain.target_gear)),
    bind("TransmissionData1", "ShiftActive", None, |v| flag(v.powertrain.shifting())),
    bind("TransmissionData2", "TurbineTorque", Additive(1.0), |v| v.powertrain.turbine_torque),
    bind("TransmissionData2", "ConverterSlip", Additive(1.5), |v| v.powertrain.speed - v.powertrain.turbine),
    bind("TransmissionData2", "LockupState", None, |v| lockup(v.powertrain.lockup)),
    bind("ElectricMachine", "MachineSpeed", Additive(6.0), |v| BELT * v.powertrain.speed),
    bind("ElectricMachine", "MachineTorque", Additive(0.1), |v| v.battery.torque),
    bind("ElectricMachine", "MachinePower", Additive(15.0), |v| v.battery.machine_power),
    bind("ElectricMachine", "MachineTemp", Additive(0.2), |v| v.battery.machine_temp),
    bind("BrakeData1", "BrakePedalTravel", Moving(0.1), |v| 100.0 * v.driver.brake),
    bind("BrakeData1", "MasterPressure", Additive(0.1), |v| v.chassis.master_pressure),
    bind("BrakeData1", "AbsActive", None, |v| flag(v.chassis.abs_active)),
    bind("BrakePressures", "BrakePressureFL", Additive(0.12), |v| v.chassis.brake_pressures[0]),
    bind("BrakePressures", "BrakePressureFR", Additive(0.12), |v| v.chassis.brake_pressures[1]),
    bind("BrakePressures", "BrakePressureRL", Additive(0.12), |v| v.chassis.brake_pressures[2]),
    bind("BrakePressures", "BrakePressureRR", Additive(0.12), |v| v.chassis.brake_pressures[3]),
    bind("WheelSpeeds", "WheelSpeedFL", Moving(0.04), |v| KMH * v.chassis.wheels[0]),
    bind("WheelSpeeds", "WheelSpeedFR", Moving(0.04), |v| KMH * v.chassis.wheels[1]),
    bind("WheelSpeeds", "WheelSpeedRL", Moving(0.04), |v| KMH * v.chassis.wheels[2]),
    bind("WheelSpeeds", "WheelSpeedRR", Moving(0.04), |v| KMH * v.chassis.wheels[3]),
    bind("VehicleDynamics", "LongAcceleration", Additive(0.06), |v| v.chassis.long_acceleration),
    bind("VehicleDynamics", "LatAcceleration", Additive(0.05), |v| v.chassis.lat_acceleration),
    bind("VehicleDynamics", "YawRate", Additive(0.08), |v| DEGREES * v.chassis.yaw_rate),
    bind("SteeringData", "SteeringAngle", Additive(0.1), |v| v.driver.steering),
    bind("SteeringData", "SteeringRate", Additive(0.8), |v| v.driver.steering_rate),
    bind("SteeringData", "SteeringTorque", Additive(0.08), |v| 1.1 * v.chassis.lat_acceleration + 0.006 * v.driver.steering_rate),
    bind("EngineAir", "ManifoldPressure", Additive(0.3), |v| v.powertrain.manifold),
    bind("EngineAir", "MassAirFlow", Additive(0.15), |v| v.powertrain.air),
    bind("EngineAir", "Lambda", Additive(0.006), |v| v.powertrain.lambda),
    bind("EngineAir", "IntakeTemp", Additive(0.2), |v| v.thermal.intake),
    bind("EngineAir", "BarometricPressure", Additive(0.1), |v| v.barometer),
    bind("VehicleSpeedData", "VehicleSpeed", Moving(0.03), |v| KMH * v.chassis.indicated_speed),
    bind("VehicleSpeedData", "Standstill", None, |v| flag(v.chassis.indicated_speed == 0.0)),
    bind("VehicleSpeedData", "RoadGrade", Additive(0.1), |v| 100.0 * v.road.grade),
    bind("FuelInjection", "FuelRate", Moving(0.03), |v| v.powertrain.fuel),
    bind("FuelInjection", "EngineState", None, |v| if v.powertrain.overrun { 3.0 } else { 2.0 }),
    bind("TransmissionStatus", "TransmissionOilTemp", Additive(0.2), |v| v.thermal.gearbox_oil),
    bind("TransmissionStatus", "SelectorPosition", None, |_| 3.0),
    bind("EngineThermal", "CoolantTemp", Additive(0.1), |v| v.thermal.coolant),
    bind("EngineThermal", "OilTemp", Additive(0.15), |v| v.thermal.oil),
    bind("EngineThermal", "OilPressure", Additive(0.03), |v| v.thermal.oil_pressure),
    bind("EngineThermal", "CoolantPressure", Additive(0.006), |v| v.thermal.coolant_pressure),
    bind("EngineThermal", "CoolantLevel", Additive(0.3), |v| v.thermal.shown_level()),
    bind("EngineThermal", "FanSpeed", None, |v| 100.0 * v.thermal.fan),
    bind("FuelTank", "FuelLevel", Additive(0.05), |v| v.fuel_level),
    bind("FuelTank", "FuelPressure", Additive(0.03), |v| 4.2 - 0.008 * v.powertrain.fuel),
    bind("EngineHours", "TotalEngineHours", None, |v| v.engine_hours),
    bind("RestraintData", "FrontAcceleration", Additive(0.15), |v| v.chassis.long_acceleration),
    bind("RestraintData", "SideAcceleration", Additive(0.15), |v| v.chassis.lat_acceleration),
    bind("RestraintData", "BeltDriver", None, |v| flag(!v.door_driver)),
    bind("BatteryPack", "PackCurrent", Additive(0.15), |v| v.battery.current),
    bind("BatteryPack", "PackVoltage", Additive(0.015), |v| v.battery.voltage()),
    bind("BatteryPack", "StateOfCharge", None, |v| 100.0 * v.battery.charge()),
    cell(0, "Cell01Voltage", |v| v.battery.voltages[0]),
    cell(0, "Cell02Voltage", |v| v.battery.voltages[1]),
    cell(0, "Cell03Voltage", |v| v.battery.voltages[2]),
    cell(0, "Cell04Voltage", |v| v.battery.voltages[3]),
    cell(1, "Cell05Voltage", |v| v.battery.voltages[4]),
    cell(1, "Cell06Voltage", |v| v.battery.voltages[5]),
    cell(1, "Cell07Voltage", |v| v.battery.voltages[6]),
    cell(1, "Cell08Voltage", |v| v.battery.voltages[7]),
    cell(2, "Cell09Voltage", |v| v.battery.voltages[8]),
    cell(2, "Cell10Voltage", |v| v.battery.voltages[9]),
    cell(2, "Cell11Voltage", |v| v.battery.voltages[10]),
    cell(2, "Cell12Voltage", |v| v.battery.voltages[11]),
    bind("CellSummary", "CellVoltageMin", Additive(0.001), |v| v.battery.extremes().0),
    bind("CellSummary", "CellVoltageMax", Additive(0.001), |v| v.battery.extremes().1),
    bind("CellSummary", "CellTempMin", None, |v| low(&v.battery.temps)),
    bind("CellSummary", "CellTempMax", None, |v| high(&v.battery.temps)),
    bind("DcDcConverter", "DcDcCurrent", Additive(0.15), |v| v.battery.converter_current),
    bind("DcDcConverter", "SupplyVoltage", Additive(0.01), |v| v.battery.supply),
    bind("DcDcConverter", "DcDcTemp", Additive(0.2), |v| v.battery.converter_temp),
    bind("RideHeights", "RideHeightFL", Additive(0.4), |v| v.chassis.heights[0]),
    bind("RideHeights", "RideHeightFR", Additive(0.4), |v| v.chassis.heights[1]),
    bind("RideHeights", "RideHeightRL", Additive(0.4), |v| v.chassis.heights[2]),
    bind("RideHeights", "RideHeightRR", Additive(0.4), |v| v.chassis.heights[3]),
    bind("ClusterData", "DisplaySpeed", None, |v| KMH * v.chassis.indicated_speed * 1.03),
    bind("ClusterData", "TurnIndicator", None, |v| f64::from(v.indicator())),
    bind("ClusterData", "DisplayRange", None, |v| v.fuel_level * 13.5),
    bind("BodyStatus", "DoorDriver", None, |v| flag(v.door_driver)),
    bind("BodyStatus", "DoorPassenger", None, |v| flag(v.door_passenger)),
    bind("BodyStatus", "HandBrake", None, |v| flag(v.hazard && v.chassis.speed == 0.0)),
    bind("BodyStatus", "LowBeam", None, |v| flag(v.low_beam)),
    bind("BodyStatus", "WiperState", None, |v| f64::from(v.wiper)),
    bind("BodyStatus", "AcCompressor", None, |v| flag(v.compressor)),
    bind("GpsData", "GpsSpeed", Additive(0.08), |v| KMH * v.chassis.gps_speed),
    bind("GpsData", "GpsCourse", None, |v| v.chassis.course),
    bind("GpsData", "GpsSatellites", Additive(0.7), |_| 11.0),
    bind("Climate", "AmbientTemp", None, |v| v.ambient),
    bind("Climate", "CabinTemp", Additive(0.1), |v| v.thermal.cabin),
    bind("Climate", "BlowerSpeed", None, |v| (20.0 + 4.0 * (v.thermal.cabin - 21.5).abs()).min(100.0)),
    bind("BatteryTemps", "ModuleTemp1", Additive(0.1), |v| v.battery.temps[0]),
    bind("BatteryTemps", "ModuleTemp2", Additive(0.1), |v| v.battery.temps[1]),
    bind("BatteryTemps", "ModuleTemp3", Additive(0.1), |v| v.battery.temps[2]),
    bind("BatteryTemps", "BatteryCoolingFan", None, |v| 100.0 * v.battery.fan),
    bind("TyreStatus", "TyrePressureFL", Additive(0.003), |v| v.chassis.tyre_pressures[0]),
    bind("TyreStatus", "TyrePressureFR", Additive(0.003), |v| v.chassis.tyre_pressures[1]),
    bind("TyreStatus", "TyrePressureRL", Additive(0.003), |v| v.chassis.tyre_pressures[2]),
    bind("TyreStatus", "TyrePressureRR", Additive(0.003), |v| v.chassis.tyre_pressures[3]),
    bind("TyreStatus", "TyreTempFL", Additive(0.2), |v| v.chassis.tyre_temps[0]),
    bind("TyreStatus", "TyreTempFR", Additive(0.2), |v| v.chassis.tyre_temps[1]),
    bind("TyreStatus", "TyreTempRL", Additive(0.2), |v| v.chassis.tyre_temps[2]),
    bind("TyreStatus", "TyreTempRR", Additive(0.2), |v| v.chassis.tyre_temps[3]),
    bind("LowVoltage", "Battery12Voltage", Additive(0.01), |v| v.battery.supply - 0.05),
    bind("LowVoltage", "Battery12Current", Additive(0.1), |v| v.battery.low_current),
    bind("LowVoltage", "Battery12Charge", None, |v| 100.0 * v.battery.low_charge),
    bind("OdometerData", "Odometer", None, |v| v.chassis.odometer),
];
