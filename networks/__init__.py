"""The parts that Model.py and Model_RNN.py are built of, and what a network hears of a song."""
