"""FP16 around INT8: the graph for strongly typed TensorRT, derived from the FP32 one.

derive.py     the pass, its report
reasons.py    why a node stays FP32
regions.py    FP32 that goes on over cheap nodes
borders.py    types written, Casts put in
scales.py     what FP16 does to scales
half_types.py which positions of an operator may be FP16
"""
