"""The parts that Model.py and Model_RNN.py are built from, and how a network hears a song."""
