"""What numbers mean: functions of arrays, without a clock and without files."""
