"""What critics ask of simple test-time scaling, a question a file: arrays in, numbers out. Knows no cell and no file.

Arrays are (questions, samples) with further axes where said. Every statistic is a function of question weights, shape
(draws, questions), each row of which sums to 1, so that one draw of questions serves all points of all curves at once.
"""
