use super::*;

#[test]
fn faults_number_themselves_and_say_what_was_expected() {
    for (index, fault) in Fault::ALL.into_iter().enumerate() {
        assert_eq!(fault.index(), index);
        for format in [Format::Candump, Format::Asc, Format::Blf, Format::Trc] {
            assert!(fault.expected(format).starts_with("expected "), "{fault:?}");
        }
    }
}
