"""The words of the King James Bible under two states: vowels and consonants, whatever the start."""

import os
import unittest

import numpy as np

from tally_cli import TallyTest, source_folder

WORDS = os.path.join(source_folder, "examples", "data", "kjv_words.h5")
LETTERS = "abcdefghijklmnopqrstuvwxyz"


class LettersTest(TallyTest):
    def letters_of_states(self, fitted):
        owners = fitted["probabilities"][:, 0, :].argmax(axis=0)
        states = fitted["probabilities"].shape[0]
        return sorted("".join(np.array(list(LETTERS))[owners == k]) for k in range(states))

    def fit_words(self, states, **options):
        return self.fit("hmm", WORDS + ":/letters", states, lengths=WORDS + ":/lengths", emission="categorical",
                        init="random-from-data", tol=1e-6, max_iter=500, **options)

    def test_two_states_are_vowels_and_consonants(self):
        for seed in (1, 2, 3):
            with self.subTest(seed=seed):
                self.assertEqual(self.letters_of_states(self.fit_words(2, seed=seed)),
                                 ["aeiouy", "bcdfghjklmnpqrstvwxz"])

    def test_the_example_finds_three_classes_on_two_ranks(self):
        fitted = self.fit_words(3, seed=1, n_init=4, ranks=2)
        self.assertEqual(self.letters_of_states(fitted), ["aeiouy", "bcfghjkpqstw", "dlmnrvxz"])


if __name__ == "__main__":
    unittest.main()
